"""`unifusion predict`: the file, what is told, the exit codes."""

import json

import pytest


@pytest.fixture
def manifest(tmp_path, sound):
    def write(*rows):
        path = tmp_path / "m.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def predict(run, toy_folder, tmp_path):
    def call(manifest, *words, task="emotion"):
        return run("predict", manifest, "--task", task, "-o", tmp_path / "o.jsonl", "--model", toy_folder, *words)

    return call


def test_rows_are_answered_once(predict, manifest, sound, tmp_path, rows_of):
    path = manifest({"id": "a", "path": sound}, {"id": "b", "path": "none.wav"}, {"id": "c", "audio": sound})
    code, out, err = predict(path, "--labels", "happy,angry")
    assert code == 0
    assert out == ""
    assert "3 rows, 0 were there already, 1 hold an error" in err
    rows = rows_of(tmp_path / "o.jsonl")
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert rows[0]["label"] in ("happy", "angry")
    assert "none.wav" in rows[1]["error"]
    assert "3 were there already" in predict(path, "--labels", "happy,angry")[2]
    assert rows_of(tmp_path / "o.jsonl") == rows


def test_another_run_is_not_mixed_in(predict, manifest, sound, tmp_path):
    path = manifest({"id": "a", "path": sound})
    predict(path, "--labels", "happy,angry")
    code, _, err = predict(path, "--labels", "happy,sad")
    assert code == 2
    assert "another run" in err
    assert predict(path, "--labels", "happy,sad", "--overwrite")[0] == 0


def test_answers_stay_with_the_lines_they_answer(predict, manifest, sound):
    predict(manifest({"path": sound}), "--labels", "x,y")
    code, _, err = predict(manifest({"transcript": "My grandmother died."}, {"path": sound}), "--labels", "x,y")
    assert code == 2 and "another row '1'" in err


def test_a_model_that_does_not_load_costs_no_old_answers(run, predict, manifest, sound, tmp_path):
    path = manifest({"id": "a", "path": sound})
    predict(path, "--labels", "x,y")
    before = (tmp_path / "o.jsonl").read_bytes()
    words = ("predict", path, "--task", "emotion", "-o", tmp_path / "o.jsonl", "--overwrite")
    assert run(*words, "--model", tmp_path / "typo")[0] == 4
    assert (tmp_path / "o.jsonl").read_bytes() == before


def test_errors_are_tried_again(predict, manifest, sound, tmp_path, rows_of):
    path = manifest({"id": "a", "path": "late.wav"}, {"id": "b", "path": sound})
    predict(path, "--labels", "x,y")
    (tmp_path / "late.wav").write_bytes(open(sound, "rb").read())
    assert "1 hold an error" in predict(path, "--labels", "x,y")[2]
    assert "0 hold an error" in predict(path, "--labels", "x,y", "--retry-errors")[2]
    assert sorted(row["id"] for row in rows_of(tmp_path / "o.jsonl")) == ["a", "b"]


def test_when_no_row_can_be_answered_the_exit_code_says_so(predict, manifest):
    assert predict(manifest({"id": "a", "path": "none.wav"}), "--labels", "x,y")[0] == 3


@pytest.mark.parametrize(
    ("row", "task", "said"),
    [({"id": "a"}, "emotion", "names no file"), ({"id": "a", "path": "x"}, "emotoin", "did you mean 'emotion'")],
)
def test_mistakes_are_told_before_any_work(predict, manifest, tmp_path, row, task, said):
    code, _, err = predict(manifest(row), task=task)
    assert code == 2
    assert said in err
    assert not (tmp_path / "o.jsonl").exists()
