"""What every reader of clips with captions keeps to, over the catalog and its trees."""

import pickle

import pytest

from tests.datasets.test_readers import read
from tests.datasets.trees import TREES
from unifusion import catalog
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError

RETRIEVAL = ("audiocaps", "clotho", "flickr8k", "howto100m", "laion", "msrvtt", "vggsound", "webvid")


@pytest.fixture(params=RETRIEVAL)
def name(request):
    return request.param


@pytest.fixture
def tree(name, tmp_path):
    TREES[name](tmp_path)
    return tmp_path


def test_each_reader_has_a_tree():
    assert set(RETRIEVAL) == set(TREES) <= set(catalog.names("datasets"))


def test_rows_are_whole_and_the_same_each_time(name, tree):
    rows, again = read(name, tree), read(name, str(tree))
    assert isinstance(rows, Dataset) and len(rows) == len(list(rows)) > 1
    assert [rows[i] for i in range(len(rows))] == list(again) == list(rows)
    assert len({r.id for r in rows}) == len(rows) and all(r.id.startswith(f"{name}/") for r in rows)
    for row in rows:
        captions = row.labels["captions"]
        assert isinstance(captions, tuple) and all(c == c.strip() != "" for c in captions) and row.texts["caption"] == captions[0]
        assert row.split in ("train", "val", "test") and row.group
        for clip in row.media:
            assert clip.kind in ("video", "audio", "image") and clip.transcript is None
            assert (clip.start_s is None) == (clip.end_s is None) and (clip.start_s is None or clip.start_s < clip.end_s)
    for wrong in (-1, len(rows)):
        with pytest.raises(IndexError):
            rows[wrong]


def test_no_group_is_in_two_splits_and_splits_make_up_the_whole(name, tree):
    rows = list(read(name, tree))
    splits = {group: {r.split for r in rows if r.group == group} for group in {r.group for r in rows}}
    assert all(len(found) == 1 for found in splits.values())
    there = {r.split for r in rows}
    parts = [r for split in sorted(there) for r in read(name, tree, split=split)]
    assert sorted(r.id for r in parts) == sorted(r.id for r in rows)
    with pytest.raises(DatasetError, match="nonsense"):
        read(name, tree, split="nonsense")


def test_what_is_missing_is_counted_told_and_can_be_left_out(name, tree, caplog):
    rows = read(name, tree)
    assert rows.missing > 0 and sum(f"{rows.missing} of " in r.message for r in caplog.records) == 1
    if name == "laion":
        return  # what was not downloaded is no member of a tar
    bare = [r for r in rows if not r.media]
    assert len(bare) == rows.missing < len(rows)
    kept = read(name, tree, only_downloaded=True)
    assert [r.id for r in kept] == [r.id for r in rows if r.media]


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
