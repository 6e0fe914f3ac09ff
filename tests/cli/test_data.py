"""`unifusion data inspect | validate | convert | split | sample`: what is printed, exit codes, and one command after the other."""

import json

import numpy as np
import pytest
import soundfile


@pytest.fixture
def rows(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(6):
        soundfile.write(folder / f"{n}.wav", np.full(4000, n / 20), 16_000)
    lines = [{"id": f"r{n}", "audio": f"{n % 6}.wav", "emotion": ("joy", "anger")[n % 2], "group": f"g{n // 2}"} for n in range(24)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in lines))
    return folder / "rows.jsonl"


def test_one_after_the_other(run, rows, tmp_path, rows_of):
    code, out, err = run("data", "inspect", rows, "-o", tmp_path / "page")
    assert code == 0 and "24 rows" in out and "read as messages (guessed" in err and (tmp_path / "page" / "index.html").is_file()
    code, out, _ = run("data", "validate", rows, "--task", "emotion")
    assert (code, out) == (0, "24 rows, 6 media files: 0 errors, 0 warnings; nothing found that would break or spoil a run\n")
    code, out, _ = run("data", "split", rows, "-o", tmp_path / "split", "--val", "0.25", "--test", "0.25", "--stratify", "emotion")
    assert code == 0 and "val   6 rows (25.0%), 3 groups" in out and "emotion: shares differ from the whole's by at most 0.0%" in out
    code, out, _ = run(
        "data", "convert", tmp_path / "split" / "val.jsonl", "-o", tmp_path / "val.jsonl", "--task", "emotion", "--copy-media"
    )
    assert code == 0 and "6 rows as messages, " in out and len(rows_of(tmp_path / "val.jsonl")) == 6
    code, out, _ = run("data", "sample", tmp_path / "val.jsonl", "-o", tmp_path / "few", "-n", "2")
    assert code == 0 and "2 rows, " in out
    assert run("data", "validate", tmp_path / "few" / "rows.jsonl", "--model", "checkpoints/tiny-chat", "--root", tmp_path / "few")[0] == 0


def test_what_is_wrong_is_told_and_the_exit_code_says_so(run, rows):
    with rows.open("ab") as file:
        file.write(
            b'{"id": "r3", "audio": "0.wav"}\n{"audio": "gone.wav"}\n{"audio": "../x\x1b[31m.wav"}\n{"a\n'
            + b'{"audio": "0.wav", "split": "dev"}\n' * 7
        )
    code, out, _ = run("data", "validate", rows)
    assert code == 1 and f"error: {rows}:25 (r3): the id of row 4 stands again;" in out and "gone.wav: No such file or directory;" in out
    assert "warning: 2 more of the kind split (--json has all)" in out and "\x1b" not in out
    code, out, _ = run("data", "validate", rows, "--json")
    *findings, last = map(json.loads, out.splitlines())
    assert (
        code == 1
        and len(findings) == last["errors"] + last["warnings"]
        and last["rows"] == 35
        and last["read_as"].startswith("read as messages")
    )
    assert {f["row"] for f in findings if f["severity"] == "error"} == {25, 26, 27, 28}
    code, out, _ = run("data", "inspect", rows, "--json")
    assert code == 0 and len(json.loads(out)["broken_rows"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["validate", "{rows}", "--decode", "--no-media"], "do not go together"),
        (["inspect", "{rows}.gone"], "is not there"),
        (["inspect", "{rows}", "--dataset", "mesages"], "no dataset named 'mesages'"),
        (["convert", "{rows}", "-o", "{rows}"], "is there already"),
        (["convert", "{rows}", "-o", "{rows}.out"], "holds no conversation"),
        (["validate", "{rows}", "--task", "emotions"], "no task 'emotions'"),
        (["inspect", "{rows}", "--option", "root"], "is no KEY=VALUE"),
        (["inspect", "{rows}", "--option", "wrong=1"], "unexpected keyword"),
        (["split", "{rows}", "-o", "{rows}.dir", "--val", "0.6", "--test", "0.6"], "leave nothing to train on"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(run, rows, words, said):
    code, _, err = run("data", *(w.format(rows=rows) for w in words))
    assert code == 2 and said in err and "Traceback" not in err


def test_json_of_each(run, rows, tmp_path):
    told = {}
    for name, *words in (
        ("convert", "-o", tmp_path / "c.jsonl", "--to", "manifest"),
        ("split", "-o", tmp_path / "s", "--ids"),
        ("sample", "-o", tmp_path / "f", "-n", "3"),
    ):
        code, out, _ = run("data", name, rows, *words, "--json")
        assert code == 0
        told[name] = json.loads(out)
    assert told["convert"]["rows"] == 24 and sum(told["split"]["rows"].values()) == 24 and told["sample"]["rows"] == 3
    assert (tmp_path / "s" / "train.txt").is_file()
