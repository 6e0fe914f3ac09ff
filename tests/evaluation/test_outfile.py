"""The growing JSONL file: whatever a kill leaves, going on gives each row once."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation import outfile
from unifusion.evaluation.manifest import Row
from unifusion.evaluation.outfile import OutFile, Run, weights_of

RUN = Run(task="emotion", labels=("a", "b"), model="m", seed=0, max_new_tokens=8)
ROWS = [{"id": f"r{i}", "answer": "é\u2028x" * i} if i % 3 else {"id": f"r{i}", "error": "bad file"} for i in range(8)]


def ids(path):
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def fill(path, rows=ROWS, **options):
    with OutFile.open(path, RUN, **options) as sink:
        sink.write([row for row in rows if row["id"] not in sink.done])
        return sink.errors


def test_rows_are_written_once(tmp_path):
    path = tmp_path / "new" / "o.jsonl"
    assert fill(path) == 3
    before = path.read_bytes()
    assert fill(path) == 3
    assert path.read_bytes() == before
    assert [json.loads(line) for line in before.splitlines()] == ROWS


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cut_at_any_byte_loses_and_doubles_nothing(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("out") / "o.jsonl"
    fill(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    fill(path)
    assert path.read_bytes() == whole


def test_a_line_separator_inside_a_text_is_no_new_line(tmp_path):
    path = tmp_path / "o.jsonl"
    fill(path, [{"id": "a", "answer": "one\u2028two\x0bthree\x85four"}])
    with OutFile.open(path, RUN) as sink:
        assert sink.done == {"a"}


def test_errors_are_tried_again_on_request(tmp_path):
    path = tmp_path / "o.jsonl"
    fill(path)
    mended = [{"id": row["id"], "answer": "now"} for row in ROWS]
    assert fill(path, mended, retry_errors=True) == 0
    assert sorted(ids(path)) == sorted(row["id"] for row in ROWS)
    answers = {row["id"]: row["answer"] for row in map(json.loads, path.read_bytes().splitlines())}
    assert {answers[name] for name in ("r0", "r3", "r6")} == {"now"}


def test_rows_of_another_run_are_not_mixed_in(tmp_path):
    path = tmp_path / "o.jsonl"
    fill(path)
    other = Run(task="sound", labels=("a", "b"), model="m", seed=0, max_new_tokens=8)
    with pytest.raises(ConfigError, match="another run"), OutFile.open(path, other):
        pass
    assert len(ids(path)) == len(ROWS)
    with OutFile.open(path, other, overwrite=True) as sink:
        assert sink.done == frozenset()
    assert path.read_bytes() == b""


def test_rows_of_an_unknown_run_are_refused(tmp_path):
    path = tmp_path / "o.jsonl"
    path.write_text('{"id": "a"}\n')
    with pytest.raises(ConfigError, match="unknown"), OutFile.open(path, RUN):
        pass
    assert path.read_text() == '{"id": "a"}\n'


@pytest.mark.parametrize("line", ["plain text", "[1]", "3", '{"no": "id"}'])
def test_a_foreign_file_is_refused_and_left_alone(tmp_path, line):
    path = tmp_path / "o.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DatasetError, match=":1: not a row"), OutFile.open(path, RUN):
        pass
    assert path.read_text() == line + "\n"


def test_an_answer_to_another_line_is_not_taken_for_this_one(tmp_path):
    path = tmp_path / "o.jsonl"
    first = [Row(id="1", mark="aa"), Row(id="2", mark="bb")]
    fill(path, [{"id": row.id, "answer": "x", "mark": row.mark} for row in first])
    added = [*first, Row(id="3", mark="cc")]
    with OutFile.open(path, RUN) as sink:
        assert sink.waiting(added) == added[2:]
        with pytest.raises(ConfigError, match="another row '1'"):
            sink.waiting([replace(first[0], mark="dd")])


def test_two_writers_are_refused(tmp_path):
    path = tmp_path / "o.jsonl"
    with OutFile.open(path, RUN), pytest.raises(ConfigError, match="another process"), OutFile.open(path, RUN):
        pass
    fill(path)


def test_a_number_that_is_not_finite_is_refused(tmp_path):
    path = tmp_path / "o.jsonl"
    with OutFile.open(path, RUN) as sink, pytest.raises(ValueError, match="JSON"):
        sink.write([{"id": "a", "p": float("nan")}])
    assert path.read_bytes() == b""


def test_a_model_that_was_trained_again_is_another_run(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    before = weights_of(str(tmp_path))
    assert before == weights_of(str(tmp_path)) and weights_of("nobody/on-the-hub") == ""
    os.utime(weights, (1, 1))
    assert weights_of(str(tmp_path)) != before


def test_a_kill_while_beginning_again_leaves_no_old_rows_under_the_new_name(tmp_path, monkeypatch):
    path, old, new = tmp_path / "o.jsonl", *(replace(RUN, task=name) for name in ("old", "new"))
    with OutFile.open(path, old) as sink:
        sink.write([{"id": "a"}])
    monkeypatch.setattr(outfile, "_same_run", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), OutFile.open(path, new, overwrite=True):
        pass
    assert path.read_bytes() == b""
