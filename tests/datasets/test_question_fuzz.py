"""Hostile annotations: whatever stands in a field, a reader gives rows or a DatasetError that names the file, and nothing else."""

import json
import random
import shutil

import pytest

from tests.datasets.question_trees import TREES
from tests.datasets.test_audioset import CLASSES
from tests.datasets.test_readers import put, read
from unifusion.errors import DatasetError

HOSTILE = (
    None, True, -1, 0, 10**30, 1.5, float("nan"), float("inf"), "", " ", "\x00", "../../etc/passwd", "/etc/passwd", "..", "a/b", "C:\\x",
    "<image>", "<|im_start|>", "NaN-NaN", "9" * 5000, "[" * 5000, "é😀" * 50, [], [None], ["A. a"], [["a"]], {}, {"a": {}}, "\ud800",
)  # fmt: skip
ROUNDS = 40
IN_JSON = sorted(set(TREES) - {"nextqa"})


def annotations(root):
    return sorted(p for p in root.rglob("*") if p.suffix in (".json", ".jsonl") and p.name != "MSRVTT_data.json" and p.stat().st_size)


def rows_in(path):
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)


def write(path, rows):
    text = "\n".join(map(json.dumps, rows)) if path.suffix == ".jsonl" else json.dumps(rows)
    path.write_text(text, encoding="utf-8")


def change(row, rng):
    """A row with one thing wrong, or not wrong at all."""
    key = rng.choice(sorted(row))
    kind = rng.randrange(4)
    if kind == 0:
        return {k: v for k, v in row.items() if k != key}
    if kind == 1 and isinstance(row[key], list) and row[key]:
        return {**row, key: [*row[key][:-1], rng.choice(HOSTILE)]}
    if kind == 2:
        return {**row, key: row[rng.choice(sorted(row))]}
    return {**row, key: rng.choice(HOSTILE)}


@pytest.mark.parametrize("name", IN_JSON)
def test_no_row_breaks_a_reader(name, tmp_path):
    rng, outcomes = random.Random(name), []
    TREES[name](tmp_path / "whole")
    for _ in range(ROUNDS):
        shutil.rmtree(tmp_path / "tree", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "tree")
        path = rng.choice(annotations(tmp_path / "tree"))
        rows = rows_in(path)
        if isinstance(rows, list):
            place = rng.randrange(len(rows))
            rows[place] = change(rows[place], rng)
        else:
            rows = change(rows, rng)
        write(path, rows)
        try:
            found = list(read(name, tmp_path / "tree"))
        except DatasetError as error:
            assert error.remedy and len(str(error)) < 20_000
            outcomes.append("named")
        else:
            assert all(r.texts["question"].strip() and isinstance(r.group, str) for r in found)
            assert all(str(m.source).startswith(str(tmp_path)) for r in found for m in r.media if isinstance(m.source, str))
            outcomes.append("read")
    assert len(set(outcomes)) == 2, outcomes


@pytest.mark.parametrize("name", IN_JSON)
def test_no_file_breaks_a_reader(name, tmp_path):
    TREES[name](tmp_path / "whole")
    for content in (
        b"",
        b"[",
        b"{}",
        b"3",
        b"null",
        b"[3]",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"1" * 5000,
        b"version https://git-lfs.github.com",
    ):
        shutil.rmtree(tmp_path / "tree", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "tree")
        for path in annotations(tmp_path / "tree"):
            path.write_bytes(content)
        with pytest.raises(DatasetError) as caught:
            list(read(name, tmp_path / "tree"))
        assert str(tmp_path) in str(caught.value)


def test_no_segment_breaks_audioset(tmp_path):
    rng = random.Random(0)
    words = [
        "--aE2O5G5WE",
        " 30.0",
        " 40.0",
        ' "/m/09x0r,/t/dd00088"',
        '"',
        "#",
        "",
        "nan",
        "-1",
        "1e9",
        "\x00",
        "/m/none",
        '""',
        "'",
        "\n",
    ]
    put(tmp_path / "class_labels_indices.csv", CLASSES)
    outcomes = []
    for _ in range(300):
        fields = words[:4]
        for _ in range(rng.randrange(3)):
            fields[rng.randrange(4)] = rng.choice(words)
        put(tmp_path / "eval_segments.csv", "# one\n# two\n# three\n" + ",".join(fields) + "\n")
        try:
            outcomes.append(len(list(read("audioset", tmp_path))))
        except DatasetError as error:
            assert str(tmp_path) in str(error)
            outcomes.append(-1)
    assert set(outcomes) == {1, -1}
    (tmp_path / "eval_segments.csv").unlink()
    for told in HOSTILE:
        row = {"video_id": "--aE2O5G5WE", "labels": "/m/09x0r", "wav": told, "video_path": told}
        put(tmp_path / "audioset_20k.json", json.dumps({"data": [row]}))
        for take in ("audio", "video"):
            try:
                assert read("audioset", tmp_path, part="balanced", take=take)[0].media == ()
            except DatasetError as error:
                assert "audioset_20k.json, entry 0" in str(error)
