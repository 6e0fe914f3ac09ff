"""Windows, words of windows, what a person named, filters, groups of duplicates."""

import itertools
import json
import os
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.retrieval.toys import axis, picture, unit
from unifusion.errors import ConfigError, DatasetError, MediaError
from unifusion.limits import Limits
from unifusion.media.below import files_below
from unifusion.retrieval import duplicates
from unifusion.retrieval.duplicates import groups_above
from unifusion.retrieval.embedding import query_vector
from unifusion.retrieval.filters import where_of
from unifusion.retrieval.said import Said, read_beside
from unifusion.retrieval.scan import scan
from unifusion.retrieval.spans import measured_s, plan


@pytest.mark.parametrize(
    ("length_s", "hop_s", "most_s", "spans"),
    [
        (4.0, 6.0, 6.0, [(0, 4)]),
        (6.0, 6.0, 6.0, [(0, 6)]),
        (14.0, 6.0, 6.0, [(0, 6), (6, 12), (12, 14)]),  # 2 s are more than a quarter: a window of its own
        (13.0, 6.0, 12.0, [(0, 6), (6, 13)]),  # joined, where the embedder takes 7 s
        (13.0, 6.0, 6.0, [(0, 6), (6, 12), (7, 13)]),  # begins earlier, where it does not
        (12.0, 3.0, 6.0, [(0, 6), (3, 9), (6, 12)]),
        (20.5, 10.0, 6.0, [(0, 6), (10, 16), (14.5, 20.5)]),
    ],
)
def test_windows_of_a_clip(length_s, hop_s, most_s, spans):
    assert plan(0.0, length_s, window_s=6.0, hop_s=hop_s, max_seconds=most_s) == spans
    later = plan(100.0, 100.0 + length_s, window_s=6.0, hop_s=hop_s, max_seconds=most_s)
    assert later == [(100 + a, 100 + b) for a, b in spans]


@given(st.floats(0.05, 200), st.floats(0.5, 8), st.floats(0.1, 1.0), st.floats(1.0, 2.0))
def test_windows_cover_the_clip_and_are_never_too_long(length_s, window_s, hop, most):
    spans = plan(0.0, length_s, window_s=window_s, hop_s=max(0.1, hop * window_s), max_seconds=most * window_s)
    assert spans[0][0] == 0.0 and abs(spans[-1][1] - length_s) < 2e-3 and len(set(spans)) == len(spans)
    assert all(0 <= a < b <= length_s and b - a <= most * window_s + 2e-3 for a, b in spans)
    assert all(after[0] <= before[1] + 1e-9 for before, after in itertools.pairwise(spans))
    assert len(spans) == 1 or all(b - a >= 0.25 * window_s - 2e-3 for a, b in spans)


def test_words_with_times_and_without():
    timed = Said(cues=((0.0, 2.0, "one"), (5.0, 7.0, "two"), (8.0, 30.0, "long")))
    assert timed.within(0.0, 6.0, (0.0, 30.0)) == "one two"
    assert timed.within(6.0, 12.0, (0.0, 30.0)) == "two long"
    assert timed.within(18.0, 24.0, (0.0, 30.0)) == "long"
    assert timed.within(2.5, 4.5, (0.0, 30.0)) is None
    plain = Said(text="a b c d e f")
    assert [plain.within(s, s + 2.0, (0.0, 6.0)) for s in (0.0, 2.0, 4.0)] == ["a b", "c d", "e f"]
    assert plain.within(0.0, 6.0, (0.0, 6.0)) == plain.within(0.0, 0.0, (0.0, 0.0)) == "a b c d e f"


SRT = "1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Good</i> {\\an8}day\r\n\r\n2\r\n01:00:00,000 --> 01:00:01,000\r\nlate\r\n"
VTT = "WEBVTT\n\nNOTE hidden\n\nintro\n00:01.000 --> 00:02.500 align:start\nGood\nday\n"


def test_files_of_words(tmp_path):
    (tmp_path / "a.srt").write_text(SRT)
    (tmp_path / "a.vtt").write_text(VTT)
    (tmp_path / "a.txt").write_bytes("\ufeffGood\n  day".encode())
    assert read_beside(tmp_path / "a.srt", Limits()).cues == ((1.0, 2.5, "Good day"), (3600.0, 3601.0, "late"))
    assert read_beside(tmp_path / "a.vtt", Limits()).cues == ((1.0, 2.5, "Good day"),)
    assert read_beside(tmp_path / "a.txt", Limits()) == Said(text="Good day")
    (tmp_path / "b.srt").write_text("no cue")
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "d.txt").write_text("x" * 100)
    for name, limits in (("b.srt", Limits()), ("c.txt", Limits()), ("d.txt", Limits(max_text_chars=10))):
        with pytest.raises(MediaError, match=name):
            read_beside(tmp_path / name, limits)


def test_what_is_named(clips, tmp_path, monkeypatch):
    (clips / "sounds" / "low.srt").write_text(SRT)
    (clips / "notes.txt").write_text("no clip")
    (clips / "noise.bin").write_bytes(b"\0" * 64)
    (clips / ".hidden.png").write_bytes((clips / "red.png").read_bytes())
    (clips / "picture").write_bytes((clips / "red.png").read_bytes())
    (clips / "link.png").symlink_to(clips / "red.png")
    (clips / "loop").symlink_to(clips, target_is_directory=True)
    found, passed_over = scan([clips])
    names = [os.path.relpath(w.path, clips) for w in found]
    assert names == ["blue.png", "green.png", "link.png", "picture", "red.png", "sounds/high.wav", "sounds/long.wav", "sounds/low.wav"]
    assert passed_over == 2 and found[-1].said.whole == "Good day late" and not found[-2].said.whole
    monkeypatch.chdir(clips)
    assert [w.name for w in scan(["."])[0]] == [w.name for w in found] and scan(["red.png"])[0][0].path == str(clips / "red.png")
    assert [w.path for w in scan([clips], without=clips / "sounds")[0]] == [w.path for w in found[:5]]
    with pytest.raises(DatasetError, match=r"none\.mp4 is not there"):
        scan([clips, "none.mp4"])


def test_a_manifest_tells_more(clips, tmp_path):
    rows = [
        {"path": "clips/red.png", "label": "warm", "weight": 2, "tags": ["a"], "caption": "a red square", "nested": {"x": 1}},
        {"audio": "clips/sounds/long.wav", "start_s": 5, "end_s": 10, "transcript": "hello  there", "metadata": {"label": "m"}},
        {"path": "clip-world://1/2", "texts": {"title": "rendered"}},
    ]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    red, long, rendered = scan([manifest])[0]
    assert red.path == str(clips / "red.png") and red.metadata == {"label": "warm", "weight": 2, "tags": ["a"]}
    assert red.texts == {"caption": "a red square"} and red.listed
    assert (long.asked, long.start_s, long.end_s, long.said.text, long.metadata) == ("audio", 5, 10, "hello there", {"label": "m"})
    assert rendered.rendered and rendered.texts == {"title": "rendered"}
    both = scan([clips, manifest, clips])[0]
    assert sum(w.path == red.path for w in both) == 1 and next(w for w in both if w.path == red.path).metadata["label"] == "warm"


UNFIT = ('"texts": {"a": 1}', '"metadata": 3', '"x": NaN')


@pytest.mark.parametrize(
    "more", ["[]", "{", '{"label": 1}', '{"path": 3}', '{"path": 1, "texts": {}}', *(f'{{"path": "a", {x}}}' for x in UNFIT)]
)
def test_rows_that_are_none(tmp_path, more):
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav"}\n' + more + "\n")
    with pytest.raises(DatasetError, match=r"m\.jsonl:2"):
        scan([tmp_path / "m.jsonl"])


def test_a_folder_that_cannot_be_listed_is_no_empty_one(clips, monkeypatch):
    plain = os.scandir

    def refuse(path):
        if str(path).endswith("sounds"):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match="sounds: Permission denied"):
        list(files_below(clips))


def test_a_file_whose_header_tells_no_length(tmp_path):
    import av

    from tests.media.clips import encode

    (tmp_path / "live.mkv").write_bytes(encode(format="matroska", frames=50, seekable=False, audio=None))
    with av.open(str(tmp_path / "live.mkv")) as opened:
        assert opened.duration is None
    assert abs(measured_s(str(tmp_path / "live.mkv"), Limits()) - 2.0) < 0.06
    with pytest.raises(MediaError, match="longer than 1 s"):
        measured_s(str(tmp_path / "live.mkv"), Limits(max_seconds=1))


@pytest.mark.parametrize(
    ("texts", "where"),
    [
        ([], None), (["label=dog"], {"label": "dog"}), (["n=3"], {"n": 3}), (['n="3"'], {"n": "3"}),
        (["a b != x=y"], {"a b": {"$ne": "x=y"}}),
        (['{"label": "dog"}', "start_s>=2.5"], {"$and": [{"label": "dog"}, {"start_s": {"$gte": 2.5}}]}), (["ok=true"], {"ok": True}),
    ],
)  # fmt: skip
def test_filters_as_typed(texts, where):
    assert where_of(texts) == where


@pytest.mark.parametrize("text", ["label", "=dog", "{", ""])
def test_filters_that_are_none(text):
    with pytest.raises(ConfigError):
        where_of([text])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 10))
def test_duplicates_equal_a_search_of_all_pairs(which, seed):
    rng = np.random.default_rng(seed)
    vectors = np.stack([unit(axis(str(w)) + rng.choice([0.0, 0.05, 0.6]) * rng.normal(size=16)) for w in which])
    n = len(which)
    contents, clips = rng.integers(0, 2 * n, n), np.arange(n)
    spans = np.tile([0.0, 1.0], (n, 1))
    near = (vectors @ vectors.T >= 0.9) | (contents[:, None] == contents[None])
    for _ in range(n):
        near = near | ((near.astype(int) @ near.astype(int)) > 0)
    wanted = {tuple(np.flatnonzero(row)) for row in near if row.sum() > 1}
    assert {tuple(g) for g in groups_above(vectors, 0.9, contents, clips, spans)} == wanted


def test_overlapping_windows_of_one_clip_are_no_duplicates():
    vectors, contents = np.stack([axis("a") + 0, unit(axis("a") + 1e-4)]), np.array([0, 0])
    overlapping = np.array([[0.0, 6.0], [3.0, 9.0]])
    assert groups_above(vectors, 0.9, contents, np.array([1, 1]), overlapping) == []
    assert groups_above(vectors, 0.9, contents, np.array([1, 1]), overlapping + np.array([[0, 0], [3, 3]])) == [[0, 1]]
    assert groups_above(np.zeros((0, 4), np.float32), 0.9, np.zeros(0), np.zeros(0), np.zeros((0, 2))) == []


def test_a_window_beside_an_overlapping_one_is_still_found_elsewhere():
    """The first two overlap; the third, of another clip, equals both and connects them. A threshold of 1 forgives rounding alone."""
    vectors = np.stack([unit(np.arange(1.0, 4.0)).astype(np.float32)] * 3)
    clips, spans = np.array([1, 1, 2]), np.array([[0.0, 6.0], [3.0, 9.0], [0.0, 6.0]])
    assert groups_above(vectors, 1.0, np.arange(3), clips, spans) == [[0, 1, 2]]
    vectors[2] = unit(vectors[2] + [0.01, 0, 0])
    assert groups_above(vectors, 1.0, np.arange(3), clips, spans) == []


def test_duplicates_of_an_endless_still_take_little_memory_and_no_step_of_python_a_pair(monkeypatch):
    """5,000 windows that are all nearly the same, 12 million pairs; with a loop over them it takes a minute."""
    monkeypatch.setattr(duplicates, "_BLOCK_BYTES", 2**20)
    rng = np.random.default_rng(0)
    vectors = (np.ones(32) + 0.01 * rng.normal(size=(5000, 32))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    spans = 3.0 * np.arange(5000)[:, None] + np.array([0.0, 6.0])
    tracemalloc.start()
    began = time.process_time()
    assert groups_above(vectors, 0.9, np.arange(5000), np.zeros(5000, np.int64), spans) == [list(range(5000))]
    assert time.process_time() - began < 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_queries(embedder, clips):
    from unifusion.conversation import Media

    red = Media(kind="image", source=str(picture(clips / "r.png", "red")))
    sum_D = query_vector(["low", red, axis("x")], None, embedder, 16)
    by_hand = unit(axis("low").astype(float) + embedder.embed([red])[0].vectors["clip"] + axis("x"))
    np.testing.assert_allclose(sum_D, by_hand, atol=1e-6)
    away = query_vector(["low", "high"], [1.0, -0.5], embedder, 16)
    np.testing.assert_allclose(away, unit(axis("low") - 0.5 * axis("high").astype(float)), atol=1e-6)
    for parts, weights, told in [
        ([], None, "0 parts"), (["a"], [1, 2], "2 weights"), (["a", "a"], [1, -1], "cancel"), ([np.zeros(16)], None, "length 0"),
        ([np.ones(3)], None, r"\(3,\)"), ([np.full(16, np.nan)], None, "nan"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            query_vector(parts, weights, embedder, 16)
    with pytest.raises(ConfigError, match="need an embedder"):
        query_vector(["a"], None, None, 16)
