"""AudioSet by its tables and by CAV-MAE's: names of sounds, where clips lie, what comes twice, what is broken, and its size."""

import json
import pickle

import numpy as np
import pytest

from tests.datasets.question_trees import jpeg, put_json
from tests.datasets.test_readers import put, read, touch
from tests.datasets.trees import downloaded, shard, stemmed
from unifusion.errors import DatasetError
from unifusion.media import Sampling, read_clip

HEAD = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids={0}, num_segs={0}, num_unique_labels=527\n# YTID, start_seconds, ..\n"
CLASSES = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/t/dd00088,"Gush"\n2,/m/068hy,"Domestic animals, pets"\n'
A, B, C, D, E = "--PJHxphWEs", "--ZhevVpy1s", "--aE2O5G5WE", "--4gqARaEJE", "--BfvyPmVMo"


def table(*rows, count=None):
    return HEAD.format(len(rows) if count is None else count) + "".join(f'{i}, {a:.3f}, {b:.3f}, "{mids}"\n' for i, a, b, mids in rows)


@pytest.fixture
def tree(tmp_path):
    put(tmp_path / "class_labels_indices.csv", CLASSES)
    put(tmp_path / "balanced_train_segments.csv", table((A, 30, 40, "/m/09x0r,/t/dd00088"), (B, 50, 60, "/m/068hy")))
    put(tmp_path / "unbalanced_train_segments.csv.gz", table((A, 30, 40, "/m/09x0r"), (D, 0, 10, "/m/09x0r"), (E, 1.5, 11.5, "/m/068hy")))
    put(tmp_path / "eval_segments.csv", table((C, 30, 40, "/m/09x0r"), (E, 1.5, 11.5, "/m/068hy")))
    touch(tmp_path, f"audio/{A}.wav", f"audio/Y{B}.flac", f"video/{C}_30.mp4")
    return tmp_path


def test_segments_have_the_names_of_their_sounds(tree, caplog):
    rows = read("audioset", tree)
    assert [r.id for r in rows] == [f"audioset/{C}_30", f"audioset/{E}_1.5", f"audioset/{A}_30", f"audioset/{B}_50", f"audioset/{D}_0"]
    assert [r.split for r in rows] == ["test", "test", "train", "train", "train"] and rows.left_out == 2 and rows.missing == 2
    assert any("2 segments that came before, or whose video is in test" in r.message for r in caplog.records)
    assert sum("2 of 5 clips are not there" in r.message for r in caplog.records) == 1
    gush = rows[2]
    assert gush.labels == {"sounds": ("Speech", "Gush"), "start_s": 30.0, "end_s": 40.0} and gush.group == A
    assert rows[3].labels["sound"] == "Domestic animals, pets" and rows[3].media[0].source.endswith(f"Y{B}.flac")
    assert gush.media[0].kind == rows[0].media[0].kind == "audio" and gush.media[0].start_s is None
    assert list(pickle.loads(pickle.dumps(rows))) == list(rows) == [rows[n] for n in range(5)]
    for wrong in (-1, 5):
        with pytest.raises(IndexError):
            rows[wrong]


def test_parts_splits_and_what_was_downloaded(tree):
    assert [len(read("audioset", tree, part=p)) for p in ("balanced", "unbalanced", "eval")] == [2, 1, 2]
    assert [len(read("audioset", tree, split=s)) for s in ("train", "test")] == [3, 2]
    kept = read("audioset", tree, only_downloaded=True)
    assert len(kept) == 3 and all(r.media for r in kept) and kept.missing == 2
    with pytest.raises(DatasetError, match=r"no rows of unbalanced with a clip; download clips: docs/question_sets\.md"):
        read("audioset", tree, part="unbalanced", only_downloaded=True)
    for wrong, match in (({"split": "val"}, "has no 'val'"), ({"part": "evil"}, "did you mean 'eval'"), ({"take": "both"}, "'both'")):
        with pytest.raises(DatasetError, match=match):
            read("audioset", tree, **wrong)
    with pytest.raises(DatasetError, match=r"no rows of train|holds none"):
        read("audioset", tree, part="eval", split="train")


@pytest.mark.parametrize("name", ["{}_30", "{}_000030", "{}_30_40", "{}_30000_40000", "Y{}", "{}"])
def test_names_that_downloaders_give(tmp_path, name):
    put(tmp_path / "class_labels_indices.csv", CLASSES)
    put(tmp_path / "eval_segments.csv", table((C, 30, 40, "/m/09x0r")))
    touch(tmp_path, f"any/where/{name.format(C)}.mp4")
    (row,) = read("audioset", tmp_path)
    assert (row.media[0].kind, row.media[0].start_s) == ("audio", None)
    (row,) = read("audioset", tmp_path, take="video", whole=True)
    own = name in ("{}", "Y{}")
    assert (row.media[0].kind, row.media[0].start_s) == ("video", 30.0 if own else None)


def test_shards_of_video2dataset(tmp_path):
    put(tmp_path / "class_labels_indices.csv", CLASSES)
    put(tmp_path / "eval_segments.csv", table((C, 30, 40, "/m/09x0r")))
    clip = downloaded(f"https://www.youtube.com/watch?v={C}", b"cut out", clips=[[30.0, 40.0]])
    shard(tmp_path / "shards" / "00000.tar", stemmed(n000000000_00000=clip))
    (row,) = read("audioset", tmp_path)
    assert row.media[0].source == b"cut out" and row.media[0].kind == "audio" and read("audioset", tmp_path).missing == 0


def test_lists_of_cav_mae_with_pictures_and_sound(tmp_path):
    put(tmp_path / "class_labels_indices.csv", CLASSES)
    told = [
        {"video_id": A, "wav": str(tmp_path / "wav" / "a.flac"), "video_path": str(tmp_path / "pictures"), "labels": "/m/09x0r,/m/068hy"},
        {"video_id": B, "wav": "wav/b.wav", "labels": "/m/09x0r"}, {"video_id": D, "wav": "/data/none.wav", "labels": "/m/068hy"},
    ]  # fmt: skip
    put_json(tmp_path / "audioset_20k_cleaned.json", {"data": told})
    put_json(tmp_path / "audioset_2m.json", {"data": [told[0], {"video_id": E, "labels": "/m/09x0r"}]})
    touch(tmp_path, "wav/a.flac", "wav/b.wav", f"other/{D}.wav")
    for n in range(10):
        (tmp_path / "pictures" / f"frame_{n}").mkdir(parents=True)
        (tmp_path / "pictures" / f"frame_{n}" / f"{A}.jpg").write_bytes(jpeg(20 * n))
    rows = read("audioset", tmp_path)
    assert [r.id for r in rows] == [f"audioset/{i}" for i in (A, B, D, E)] and rows.left_out == rows.missing == 1
    assert [[m.source.rpartition("/")[2] for m in r.media] for r in rows] == [["a.flac"], ["b.wav"], [f"{D}.wav"], []]
    assert rows[0].labels == {"sounds": ("Speech", "Domestic animals, pets")}
    seen = read("audioset", tmp_path, take="video")[0]
    assert [m.kind for m in seen.media] == ["video", "audio"] and seen.media[1].source.endswith("a.flac")
    clip = read_clip(seen.media[0].source, video=Sampling(rate_hz=1), audio=False)
    assert clip.duration_s == 10.0
    np.testing.assert_allclose(clip.frames_THWC[:, 0, 0, 0], np.arange(0, 200, 20), atol=3)


def test_a_table_that_was_cut_off_is_told(tree, caplog):
    put(tree / "eval_segments.csv", table((C, 30, 40, "/m/09x0r"), count=20371))
    read("audioset", tree)
    assert any("holds 1 segments, its second line says 20371: it may have been cut off" in r.message for r in caplog.records)


def test_what_is_broken_is_named(tree):
    good = (C, 30, 40, "/m/09x0r")
    for row, match in (
        ("x, 1, 2, \"/m/09x0r\"", "'x'; wanted a YouTube id"), (f"{C}, 1, 2, /m/09x0r, /m/068hy", "5 fields"), (f"{C}, 1", "2 fi"),
        (f'{C}, a, 2, "/m/09x0r"', "'a'; wanted a number"), (f'{C}, 5, 5, "/m/09x0r"', "from 5"), (f'{C}, 1, 2, "/m/none"', "'/m/none'"),
        (f'{C}, 1, 2, ""', "'' is none of the classes"), ('-1E5, 1, 2, "/m/09x0r"', "'-1E5'"),
    ):  # fmt: skip
        put(tree / "eval_segments.csv", table(good) + row + "\n")
        with pytest.raises(DatasetError, match=rf"eval_segments\.csv, line 5: .*{match}"):
            read("audioset", tree)
    put(tree / "eval_segments.csv", table(good) + f'{D}, 1, 2, "/m/09x0r\n')
    with pytest.raises(DatasetError, match=r"eval_segments\.csv, line \d: .*mend its quotes"):
        read("audioset", tree)
    put(tree / "eval_segments.csv", "")
    put(tree / "class_labels_indices.csv", CLASSES + "3,/m/09x0r,Again\n")
    with pytest.raises(DatasetError, match=r"class_labels_indices\.csv, line 5: '/m/09x0r' 'Again'"):
        read("audioset", tree)
    (tree / "class_labels_indices.csv").unlink()
    with pytest.raises(DatasetError, match=r"holds none of class_labels_indices\.csv, ontology\.json \(nor.*got from research\.google"):
        read("audioset", tree)
    for place in (tree / "none", tree / "balanced_train_segments.csv"):
        with pytest.raises(DatasetError, match=r"is no folder;.*got from research\.google\.com"):
            read("audioset", place)


def test_broken_lists_of_cav_mae(tmp_path):
    put(tmp_path / "class_labels_indices.csv", CLASSES)
    with pytest.raises(DatasetError, match=r"holds none of eval_segments\.csv, balanced_train_segments\.csv"):
        read("audioset", tmp_path)
    row = {"video_id": A, "labels": "/m/09x0r"}
    for told, match in (
        ([], "no object"), ({"rows": []}, "no 'data'"), ({"data": [3]}, "is no list of objects"), ({"data": [{**row, "wav": 3}]}, "wav is"),
        ({"data": [{**row, "labels": ["/m/09x0r"]}]}, "entry 0: labels is"), ({"data": [{"labels": ""}]}, "entry 0: no 'video_id'"),
    ):  # fmt: skip
        put(tmp_path / "audioset_eval.json", json.dumps(told))
        with pytest.raises(DatasetError, match=match):
            read("audioset", tmp_path)


def test_a_row_costs_little_memory(tmp_path):
    import sys

    put(tmp_path / "class_labels_indices.csv", CLASSES)
    names = [f"{n:011}" for n in range(3000)]
    put(tmp_path / "eval_segments.csv", table(*((name, 30, 40, "/m/09x0r,/t/dd00088") for name in names)))
    rows = read("audioset", tmp_path)
    held = sum(sys.getsizeof(v) for v in vars(rows).values())
    assert len(rows) == 3000 and held < 60 * 3000 and rows[2999].group == names[2999]


def test_docstring_says_source_licence_layout_and_a_raw_row():
    from unifusion import catalog

    text = " ".join(catalog.load("datasets", "audioset").__doc__.split())
    assert all(word in text for word in ("Source:", "Licence:", "ayout on disk:", "raw row", "group", "split:"))
