"""What every reader of questions about clips keeps to, over the catalog and its trees."""

import pickle

import pytest

from tests.datasets.question_trees import TREES
from tests.datasets.test_readers import read
from unifusion import catalog
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError
from unifusion.tasks.multiple_choice import MultipleChoice
from unifusion.tasks.open_qa import OpenQa


@pytest.fixture(params=sorted(TREES))
def name(request):
    return request.param


@pytest.fixture
def tree(name, tmp_path):
    TREES[name](tmp_path)
    return tmp_path


def test_each_reader_is_in_the_catalog():
    assert set(TREES) <= set(catalog.names("datasets"))


def test_rows_are_whole_and_the_same_each_time(name, tree):
    rows, again = read(name, tree), read(name, str(tree))
    assert isinstance(rows, Dataset) and len(rows) == len(list(rows)) > 1
    assert [rows[i] for i in range(len(rows))] == list(again) == list(rows)
    assert len({r.id for r in rows}) == len(rows) and all(r.id.startswith(f"{name}/") for r in rows)
    for row in rows:
        assert row.texts["question"] == row.texts["question"].strip() != "" and row.labels["type"] and row.group
        assert row.split in ("train", "val", "test")
        for clip in row.media:
            assert clip.kind in ("video", "audio") and clip.source and clip.transcript == row.texts.get("transcript")
            assert (clip.start_s is None) == (clip.end_s is None) and (clip.start_s is None or clip.start_s < clip.end_s)
        for line in row.labels.get("subtitles", ()):
            assert set(line) == {"start_s", "end_s", "text"} and line["start_s"] < line["end_s"]
            assert line["text"] in row.texts["transcript"]
    for wrong in (-1, len(rows)):
        with pytest.raises(IndexError):
            rows[wrong]


def test_the_tasks_ask_and_score_each_row(name, tree):
    for row in read(name, tree):
        options, right = row.labels.get("options"), row.labels.get("option")
        task = OpenQa() if options is None else MultipleChoice()
        text = task.conversation(row).messages[-1].text
        assert row.texts["question"] in text
        if options is not None:
            assert isinstance(options, tuple) and len(options) > 1 and all(o == o.strip() != "" and o in text for o in options)
            assert (right is None) == ("answer" not in row.texts) and (right is None or options[right] == row.texts["answer"])
            assert right is None or [task.score(letter, row).value for letter in "ABCDE"[: len(options)]][right] == 1
        else:
            assert all(task.score(a, row).value == 1 for a in (row.texts["answer"], *row.labels.get("answers", ())))
            assert task.score("no such thing", row).value == 0


def test_no_group_is_in_two_splits_and_splits_make_up_the_whole(name, tree):
    rows = list(read(name, tree))
    splits = {group: {r.split for r in rows if r.group == group} for group in {r.group for r in rows}}
    assert all(len(found) == 1 for found in splits.values())
    parts = [r for split in sorted({r.split for r in rows}) for r in read(name, tree, split=split)]
    assert sorted(r.id for r in parts) == sorted(r.id for r in rows)
    with pytest.raises(DatasetError, match="nonsense"):
        read(name, tree, split="nonsense")


def test_what_is_missing_is_counted_told_once_and_can_be_left_out(name, tree, caplog):
    rows = read(name, tree)
    bare = [r for r in rows if not r.media]
    assert 0 < len(bare) == rows.missing < len(rows)
    videos = len({r.group for r in bare}), len({r.group for r in rows})
    told = f"{rows.missing} of {len(rows)} questions have no clip: {videos[0]} of {videos[1]} videos are not there"
    assert sum(told in r.message for r in caplog.records) == 1
    kept = read(name, tree, only_downloaded=True)
    assert list(kept) == [r for r in rows if r.media]


def test_readers_cross_to_other_processes(name, tree):
    rows = read(name, tree)
    assert list(pickle.loads(pickle.dumps(rows))) == list(rows)


def test_a_set_that_is_not_there_is_said_where_to_get(name, tmp_path):
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(DatasetError) as caught:
            read(name, place)
        assert str(tmp_path) in caught.value.found and "got from" in caught.value.remedy, caught.value


def test_docstrings_say_source_licence_layout_and_a_raw_row(name):
    text = " ".join((catalog.load("datasets", name).__doc__ or "").split())
    assert all(word in text for word in ("Source:", "Licence:", "ayout on disk:", "raw row", "group", "split:"))
