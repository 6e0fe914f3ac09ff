"""`data validate` finds what a run would break on: each kind of finding by a row, files of other readers, memory, many processes."""

import json
import os
import resource

import numpy as np
import pytest
import soundfile
import yaml

from tests.curation.hostile import talk
from tests.thorough import further
from tests.toys import chat_model
from unifusion import checkpoint
from unifusion.cli.checks.codecs import make_clip
from unifusion.curation.findings import Account, Finding
from unifusion.curation.source import guess, open_source, taken
from unifusion.curation.validating import ValidateOptions, validate
from unifusion.errors import ConfigError, DatasetError
from unifusion.limits import Limits
from unifusion.rows import lines_of


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    model, processor = chat_model(seed=1)
    return str(
        checkpoint.save(model, processor, tmp_path_factory.mktemp("toy") / "m", provenance={"recipe": "random"}, self_contained=True)
    )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "b.wav", np.zeros(8000), 16_000)
    return folder


def jsonl(folder, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_bytes(b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows))
    return folder / "rows.jsonl"


def found(path, task=None, dataset=None, **options):
    """(kind, row, severity) of each finding."""
    out = []
    account = validate(open_source(path, task=task, dataset=dataset, stream=True), ValidateOptions(**options), sink=out.append)
    assert account.errors + account.warnings == len(out) and all(f.found for f in out)
    return [(f.kind, f.row, f.severity) for f in out]


def kinds(path, **options):
    return [kind for kind, _, _ in found(path, **options)]


def test_good_rows_have_no_findings(folder, toy):
    rows = [
        {"id": "a", "messages": talk(), "group": "g", "split": "train"},
        {"id": 0, "audio": "b.wav", "emotion": "joy", "split": "val"},
        {"id": "c", "question": "5 < 6?", "answer": "yes", "labels": {"n": (1, 2)}},
        {"path": str(folder / "b.wav"), "start_s": 0.1, "end_s": 0.5},
    ]
    assert found(jsonl(folder, *rows)) == [] == found(jsonl(folder, *rows), model=toy, depth="decode")
    assert found(jsonl(folder, rows[1]), task="emotion") == []


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"mesages": talk()}, "key"),
        ({"path": "b.wav", "start": 1.0}, "key"),
        ({"path": "b.wav", "transcipt": "x"}, "key"),
        ({"messages": [{"rol": "user", "content": "x"}]}, "key"),
        ({"path": "b.wav", "answer": " "}, "empty_answer"),
        ({"messages": [{"role": "user", "content": "<video>a"}, {"role": "assistant", "content": "x"}], "videos": []}, "tags"),
        ({"conversations": [{"from": "human", "value": "<image>a <image>b"}, {"from": "gpt", "value": "x"}], "image": "a.png"}, "tags"),
        ({"question": "x" * 200_001}, "too_long"),
        ({"path": "b.wav", "start_s": 3.0}, "span"),
        ({"path": "b.wav", "start_s": 0.3, "end_s": 0.3}, "span"),
        ({"messages": talk(end=700.0)}, "span"),
        ({"path": "b.wav", "split": "trian"}, "split"),
        ({"video": "b.wav"}, "no_stream"),
        ({"path": "b.wav", "end_s": 2.0}, "span_late"),
        ({"messages": []}, "no_answer"),
        ({}, "row"),
        ({"path": ""}, "row"),
        ({"messages": talk(question="<|im_start|>")}, "control"),
    ],
)
def test_each_kind_is_found(folder, row, kind):
    assert kind in kinds(jsonl(folder, {"messages": talk()}, row))


def test_what_only_warns_does_not_fail(folder):
    row = {"id": "a", "path": "b.wav", "end_s": 2.0, "split": "dev"}
    assert found(jsonl(folder, row)) == [("split", 1, "warning"), ("span_late", 1, "warning")]
    assert found(jsonl(folder, b"\xef\xbb\xbf" + json.dumps({"path": "b.wav"}).encode())) == [("bom", 1, "warning")]


def test_keys_that_are_meant(folder):
    rows = jsonl(folder, {"path": "b.wav", "captoin": "x", "start": 1.0, "video_id": "v", "clip_number": 3})
    assert kinds(rows) == ["key", "key"] and kinds(rows, allowed=frozenset({"captoin", "start"})) == []


def test_what_only_all_rows_show(folder):
    rows = [{"id": f"r{n}", "path": "b.wav", "group": f"g{n % 300}", "split": "train"} for n in range(600)]
    rows += [{"id": "r7", "path": "b.wav"}, {"id": "late", "path": "b.wav", "group": "g5", "split": "test"}, {"path": "b.wav", "group": ""}]
    out = []
    account = validate(open_source(jsonl(folder, *rows), stream=True), sink=out.append)
    assert [(f.kind, f.row, f.id) for f in out] == [("id_twice", 601, "r7"), ("leak", 6, "r5")]
    assert "row 8 " in out[0].found and "the group 'g5' is in train (row 6) and test (row 602)" in out[1].found
    assert account.rows == 603 and account.files == 1 and account.bad_rows == 0


def test_a_clip_without_a_group_in_two_splits(folder):
    rows = [{"id": "a", "path": "b.wav", "split": "train"}, {"id": "b", "messages": talk("b.wav"), "split": "val"}]
    out = []
    validate(open_source(jsonl(folder, *rows), stream=True), sink=out.append)
    assert [(f.kind, f.row, f.id) for f in out] == [("leak", 1, "a")]
    assert out[0].found == "the clip 'b.wav' is in train (row 1) and val (row 2);"
    assert kinds(jsonl(folder, *[{**row, "group": row["id"]} for row in rows])) == []


def test_paths_that_lead_out(folder):
    outside = folder.parent / "other"
    outside.mkdir()
    soundfile.write(outside / "s.wav", np.zeros(800), 16_000)
    (folder / "link.wav").symlink_to(outside / "s.wav")
    (folder / "inner.wav").symlink_to("b.wav")
    rows = [{"path": p} for p in ("../other/s.wav", "link.wav", str(outside / "s.wav"), "../in/b.wav", "inner.wav")]
    assert [n for kind, n, _ in found(jsonl(folder, *rows), depth="none") if kind == "path_out"] == [1, 2]
    assert [n for kind, n, _ in found(folder / "rows.jsonl", root=folder) if kind == "path_out"] == [1, 2, 3]
    assert found(folder / "rows.jsonl", root=folder.parent) == []


def test_tasks_say_which_labels_they_know(folder):
    rows = [{"path": "b.wav", "emotion": "joy"}, {"path": "b.wav", "emotion": "hungry"}, {"path": "b.wav"}]
    assert found(jsonl(folder, *rows), task="emotion") == [("task", 2, "error"), ("task", 3, "error")]
    options = [
        {"question": "q", "options": o, "option": n} for o, n in ((["a", "b"], 1), (5, 0), (["a"], 0), (["a", "b"], 7), (["a", "b"], {}))
    ]
    assert [n for _, n, _ in found(jsonl(folder, *options), task="multiple_choice")] == [2, 3, 4, 5]


def test_the_model_counts(folder, toy):
    said = talk(answer="long " * 300)
    assert kinds(jsonl(folder, {"messages": said}), model=toy) == ["too_long"] and kinds(folder / "rows.jsonl") == []
    assert found(jsonl(folder, {"messages": talk(question="why? " * 300)}), model=toy) == [("cut", 1, "warning")]
    assert kinds(jsonl(folder, {"messages": talk()}), model=toy, max_tokens=5) == ["too_long"]
    assert found(jsonl(folder, {"messages": talk(answer="<|video|>")}), model=toy) == [("control", 1, "error")]
    assert kinds(jsonl(folder, {"messages": talk(answer="<think>")}), model=toy) == []


def test_a_file_that_is_broken_behind_its_header(folder):
    make_clip(folder / "a.mp4", "libx264", "aac")
    data = bytearray((folder / "a.mp4").read_bytes())
    at = data.index(b"mdat") + 800  # behind what x264 says of itself
    data[at : at + 1500] = np.random.default_rng(0).bytes(1500)
    (folder / "a.mp4").write_bytes(data)
    rows = jsonl(folder, {"path": "a.mp4"}, {"messages": talk("a.mp4")})
    assert kinds(rows) == [] and kinds(rows, depth="decode") == ["broken_file", "broken_file"]


def test_files_that_cannot_be_looked_at(folder):
    assert found(jsonl(folder)) == [("empty", 0, "error")]
    os.mkfifo(folder / "pipe.jsonl")
    assert found(folder / "pipe.jsonl") == [("unreadable", 0, "error")]
    with pytest.raises(DatasetError, match="no regular file"):
        list(taken(open_source(folder / "pipe.jsonl")))
    with pytest.raises(DatasetError, match="is not there"):
        open_source(folder / "none.jsonl", stream=True)


@pytest.mark.parametrize("workers", [0, further(2)])
def test_mixtures_and_readers(folder, toy, workers):
    jsonl(folder, {"messages": talk()}, {"path": "b.wav"})
    (folder / "emodb").mkdir()
    for name in ("03a01Fa.wav", "03a01Wa.wav", "08a01Na.wav"):
        soundfile.write(folder / "emodb" / name, np.zeros(800), 16_000)
    (folder / "emodb" / "08a01Na.wav").write_bytes(b"")
    parts = {"talks": {"dataset": "messages", "path": "rows.jsonl"}, "voices": {"dataset": "emodb", "path": "emodb", "task": "emotion"}}
    (folder / "mix.yaml").write_text(yaml.safe_dump(parts))
    assert guess(folder / "emodb") == "emodb"
    for place in (folder / "mix.yaml", folder / "emodb"):
        assert found(place, workers=workers) == [("empty_file", 3, "error")]
    told = [(t.part.name, t.example.id) for t in taken(open_source(folder / "mix.yaml"))]
    assert [part for part, _ in told] == ["talks", "talks", "voices", "voices", "voices"]
    with pytest.raises(ConfigError, match="no dataset named"):
        open_source(folder, dataset="emodbb")
    with pytest.raises(ConfigError, match="does not say how it is read"):
        guess(folder / "b.wav")


def test_memory_does_not_grow_with_the_file(folder):
    path = folder / "rows.jsonl"
    line = json.dumps({"path": "b.wav", "text": "x" * 2000}).encode() + b"\n"
    with path.open("wb") as file:
        file.write(line * 5_000)
        for _ in range(2):
            file.write(b'{"a": "' + b"y" * (2 * Limits.max_row_bytes) + b'"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    account = validate(open_source(path, stream=True), ValidateOptions(depth="none"))
    assert account.rows == 5_002 and account.kinds["error", "too_long"] == 2
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < path.stat().st_size  # 77 MB


@pytest.mark.parametrize("most", [1, 3, 4, 100])
def test_lines_of_any_length(tmp_path, most):
    texts = [b"", b"ab\n", b"\n", b"abcdefghij\n", b"xyz"]
    path = tmp_path / "f"
    path.write_bytes(b"".join(texts))
    with path.open("rb") as file:
        told = list(lines_of(file, most))
    whole = b"".join(texts).splitlines(keepends=True)
    starts = [sum(map(len, whole[:n])) for n in range(len(whole))]
    assert [(at, fits) for at, _, fits in told] == [(s, len(w) <= most) for s, w in zip(starts, whole, strict=True)]
    assert all(line == w[: most + 1] for (_, line, _), w in zip(told, whole, strict=True))


def test_the_account_keeps_the_first_of_each_kind():
    account = Account(most=2)
    account.add(Finding(kind="k", file="f", row=n, found="x;", remedy="y.") for n in range(1, 6))
    assert account.kinds["error", "k"] == 5 and [f.row for f in account.first["error", "k"]] == [1, 2]
    assert account.first["error", "k"][0].told() == "error: f:1: x; y."
    assert account.to_dict()["kinds"] == [{"severity": "error", "kind": "k", "count": 5}]
