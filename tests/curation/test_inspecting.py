"""`data inspect`: counts against rows whose counts are known, leaks named, the page and the pictures."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from tests.curation.hostile import talk
from tests.curation.test_validating import jsonl, toy  # noqa: F401 - a fixture
from unifusion.curation.converting import ConvertOptions, convert
from unifusion.curation.inspect_page import bars, told, write_inspected
from unifusion.curation.inspecting import Numbers, inspect
from unifusion.curation.source import open_source
from unifusion.evaluation.drawing import can_draw


@pytest.fixture
def rows(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(4):
        soundfile.write(folder / f"{n}.wav", np.full(4000 * (n + 1), n / 10), 16_000)
    shutil.copy(folder / "0.wav", folder / "copy.wav")
    (folder / "empty.wav").write_bytes(b"")
    lines = [
        {"id": "a", "path": "0.wav", "emotion": "joy", "group": "g1", "split": "train", "valence": 0.5, "speaker": "anna"},
        {"id": "b", "path": "1.wav", "emotion": "joy", "group": "g1", "split": "val", "valence": -0.5, "speaker": "berta"},
        {"id": "c", "path": "2.wav", "emotion": "anger", "group": "g2", "split": "val", "emotions": ["joy", "fear"], "speaker": "anna"},
        {"id": "d", "path": "3.wav", "start_s": 0.25, "end_s": 0.75, "split": "train", "question": "what is that?"},
        {"id": "e", "path": "copy.wav", "split": "test"},
        {"id": "f", "path": "gone.wav"},
        {"id": "g", "path": "empty.wav"},
        {"id": "h", "messages": talk("0.wav", question="one two", answer="three")},
        {"id": "i", "question": "a b c d"},
        {"path": 5},
    ]
    return jsonl(folder, *lines)


def test_counts(rows, toy):  # noqa: F811
    found = inspect(open_source(rows), model=toy)
    assert dict(found.rows) == {"train": 2, "val": 2, "test": 1, "": 4} and found.kinds == {"audio": 8} and found.bare == 1
    assert sorted(found.seconds.values) == [0.25, 0.25, 0.25, 0.5, 0.5, 0.75]
    assert {k: {v: dict(c) for v, c in values.items()} for k, values in found.classes.items()} == {
        "emotion": {"joy": {"train": 1, "val": 1}, "anger": {"val": 1}}
    }
    assert list(found.numbers["valence"].values) == [0.5, -0.5]
    assert list(found.words.values)[-2:] == [3, 4] and list(found.tokens.values)[-1] == 7  # bytes of `a b c d`
    assert [w.rpartition("/")[2] for w, _ in found.broken] == ["rows.jsonl, row 10"]
    assert [(f.rpartition("/")[2], k) for f, k, _ in found.bad_files] == [("gone.wav", "missing"), ("empty.wav", "empty_file")]
    leaks = found.leaks
    assert [leak["name"] for leak in leaks["groups"]] == ["g1"] and [leak["name"] for leak in leaks["speakers"]] == ["anna"]
    assert [d["files"] for d in found.duplicates] == [[str(rows.parent / "0.wav"), str(rows.parent / "copy.wav")]]
    assert leaks["files"][0]["rows"] == {"": 1, "test": 1, "train": 1}


def test_a_file_of_rows_of_two_splits_is_a_leak(rows):
    jsonl(rows.parent, *({"id": str(n), "path": "0.wav", "start_s": n / 10, "split": s} for n, s in enumerate(("train", "train", "val"))))
    found = inspect(open_source(rows))
    assert not found.duplicates and [leak["files"] for leak in found.leaks["files"]] == [[str(rows.parent / "0.wav")]]
    assert f"LEAK: file {rows.parent / '0.wav'} is in train and val" in "\n".join(told(found, "x"))


def test_without_media_no_file_is_opened(rows):
    found = inspect(open_source(rows), media=False)
    assert not found.seconds.values and not found.bad_files and not found.duplicates and found.kinds["audio"] == 8
    rows.write_text(rows.read_text().splitlines()[0] + "\n")
    text = "\n".join(told(inspect(open_source(rows), media=False), "x"))
    assert text.endswith("no leak between splits; no file was looked at") and "missing or broken" not in text


def test_clips_in_shards_and_of_clip_world_have_lengths(rows, tmp_path):
    kept = [line for line in rows.read_text().splitlines() if json.loads(line).get("id") in ("a", "b", "e")]
    rows.write_text("\n".join(kept) + "\n")
    convert(open_source(rows), tmp_path / "shards", ConvertOptions(to="webdataset"))
    found = inspect(open_source(tmp_path / "shards"))
    assert sorted(found.seconds.values) == [0.25, 0.25, 0.5] and found.looked == 3
    assert found.duplicates == [{"files": ["the audio of row a", "the audio of row e"], "splits": ["test", "train"]}]
    made = jsonl(tmp_path, {"id": "w", "video": "clip-world://0/3?duration=4", "end_s": 3.0}, {"id": "x", "video": "clip-world://0/3"})
    assert list(inspect(open_source(made)).seconds.values) == [3.0, 6.0]


def test_what_is_told_and_written(rows, tmp_path):
    found = inspect(open_source(rows))
    text = "\n".join(told(found, "rows"))
    assert "rows: 9 rows (train 2, val 2, test 1, no split 4), 8 clips, 8 audio" in text and "1 rows have no clip" in text
    assert "LEAK: group g1 is in train (1 rows) and val (1 rows)" in text and "LEAK: speaker anna" in text and "LEAK: file" in text
    assert "\n1 more rows cannot be read\n2 groups, 2 speakers\n" in text
    assert "missing: " in text and "empty file: " in text and "broken row: " in text and "####" in text
    lacking = write_inspected(found, "rows", tmp_path / "out")
    raw = json.loads((tmp_path / "out" / "inspect.json").read_text())
    assert raw["total"] == 9 and raw["seconds"]["count"] == 6 and raw["leaks"]["groups"][0]["name"] == "g1"
    page = (tmp_path / "out" / "index.html").read_text()
    assert "LEAK: group g1" in page and ("data:image/svg" in page) == can_draw() == (not lacking)
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".json", ".html", *([".svg", ".png"] if can_draw() else [])}


def test_a_clean_set_says_so(rows):
    rows.write_text(rows.read_text().splitlines()[0] + "\n")
    assert "no leak between splits, no file twice, none missing or broken" in "\n".join(told(inspect(open_source(rows)), "x"))


def test_figures_are_those_of_numpy():
    draw = np.random.default_rng(0).gamma(2.0, size=500)
    numbers = Numbers()
    for value in draw:
        numbers.add(value)
    summary, bins = numbers.summary(), numbers.histogram(12)
    assert summary["mean"] == pytest.approx(draw.mean(), abs=1e-4) and summary["median"] == pytest.approx(np.median(draw), abs=0.02)
    assert [n for *_, n in bins] == np.histogram(draw, 12)[0].tolist() and len(list(bars(numbers))) == 12
    one = Numbers()
    one.add(3.0)
    assert one.histogram() == [(3.0, 4.0, 1)] and next(bars(one)).startswith("  3  ####")
    assert Numbers().summary() == {"count": 0} and Numbers().histogram() == []


@pytest.mark.parametrize("most", [1, 6, 11, 12, 13, 30, 1000])
def test_bins_of_whole_numbers_hold_whole_numbers(most):
    draw = np.random.default_rng(most).integers(1, most + 1, size=400)
    numbers = Numbers()
    for value in [1, most, *draw]:
        numbers.add(float(value))
    bins = numbers.histogram(12)
    values = np.asarray(numbers.values)
    assert len(bins) <= 12 and len({high - low for low, high, _ in bins}) == 1
    assert all(float(edge).is_integer() for low, high, _ in bins for edge in (low, high))
    assert [n for *_, n in bins] == [int(np.sum((values >= low) & (values < high))) for low, high, _ in bins]
    assert sum(n for *_, n in bins) == 402 and (" - " in next(bars(numbers))) == (most > 12)
