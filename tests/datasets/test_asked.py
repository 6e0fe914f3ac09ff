"""What readers of questions share: tables, texts, options, names below a folder, and subtitles of a span."""

import pytest

from tests.datasets.question_trees import SRT
from tests.datasets.test_readers import put, touch
from unifusion.datasets._asked import answered, chosen, inside, tables_of, word_of
from unifusion.datasets._files import where_in
from unifusion.datasets._subtitles import subtitles
from unifusion.errors import DatasetError, MediaError

NAMES = {"train": ("train.json", "sub/train.json"), "val": ("val.json",), "test": ("test.json",)}


def test_tables_that_are_there_and_the_one_asked_for(tmp_path):
    touch(tmp_path, "sub/train.json", "test.json.gz")
    found = [(part, str(path.relative_to(tmp_path))) for part, path in tables_of(tmp_path, NAMES, None, "page")]
    assert found == [("train", "sub/train.json"), ("test", "test.json.gz")]
    assert [part for part, _ in tables_of(tmp_path, NAMES, "test", "page")] == ["test", "train"]  # others are read for what they share
    assert [part for part, _ in tables_of(tmp_path, NAMES, "unknown", "page")] == ["train", "test"]
    touch(tmp_path, "train.json")
    assert dict(tables_of(tmp_path, NAMES, None, "page"))["train"] == tmp_path / "train.json"
    assert list(tables_of(tmp_path / "test.json.gz", NAMES, None, "page")) == [("test", tmp_path / "test.json.gz")]
    with pytest.raises(DatasetError, match=r"holds none of val\.json .*got from page"):
        list(tables_of(tmp_path, NAMES, "val", "page"))
    with pytest.raises(DatasetError, match=r"holds none of train\.json \(nor"):
        list(tables_of(tmp_path / "sub" / "none", NAMES, None, "page"))


def test_texts_say_something(tmp_path):
    assert word_of({"q": " why? \n"}, "q", tmp_path, 1) == "why?"
    for row, match in (({}, "line 1: no 'q'"), ({"q": ""}, "q is ''"), ({"q": None}, "q is 'None'"), ({"q": ["a"]}, "wanted a text")):
        with pytest.raises(DatasetError, match=match):
            word_of(row, "q", tmp_path, 1)
    assert (where_in(3), where_in("entry 3")) == ("line 3", "entry 3")


def test_options_and_open_answers(tmp_path):
    told = chosen("why?", [" a", "b "], 1, "causal", tmp_path, 1)
    assert told == {"texts": {"question": "why?", "answer": "b"}, "labels": {"options": ("a", "b"), "option": 1, "type": "causal"}}
    assert chosen("why?", ["a", "b"], None, "k", tmp_path, 1) == {
        "texts": {"question": "why?"},
        "labels": {"options": ("a", "b"), "type": "k"},
    }
    assert answered("who?", "man", "who") == {"texts": {"question": "who?", "answer": "man"}, "labels": {"type": "who"}}
    assert answered("who?", "man", "who", ["boy"])["labels"] == {"type": "who", "answers": ("boy",)}
    for options, right, match in (
        (["a"], 0, "two or more"), (["a", " "], 0, "two or more"), (["a", 3], 0, "two or more"), (["a", "b"], 2, "0 to 1"),
        (["a", "b"], -1, "answer -1"), (["a", "b"], "0", "answer '0'"), (["a", "b"], 0.0, "answer 0.0"), (["a", "b"], False, "False"),
    ):  # fmt: skip
        with pytest.raises(DatasetError, match=f"entry 2: .*{match}"):
            chosen("why?", options, right, "k", tmp_path, "entry 2")


def test_names_stay_below_the_folder(tmp_path):
    for good in ("a.mp4", "video_1000-2000/a b.mp4", "..a/b..mp4"):
        assert inside(good, tmp_path, 1) == good
    for bad in ("../a", "a/../b", "/a", "a//b", "a/", ".", "a\\b", "a\nb", ""):
        with pytest.raises(DatasetError, match="wanted the name of a file below"):
            inside(bad, tmp_path, 1)


def test_subtitles_of_a_span_are_those_said_in_it(tmp_path):
    put(tmp_path / "a.srt", SRT)
    first, second = subtitles(tmp_path / "a.srt")
    assert first == {"start_s": 0.5, "end_s": 2.0, "text": "(Ted:)Where is my drink?"} and second["text"] == "(Robin:)Here."
    for span, wanted in (
        ((0.0, 0.5), ()),
        ((0.0, 0.6), (first,)),
        ((1.9, 7.1), (first, second)),
        ((2.0, 7.0), ()),
        ((8.0, 9.5), (second,)),
    ):
        assert subtitles(tmp_path / "a.srt", span) == wanted
    with pytest.raises(MediaError, match=r"none\.srt"):
        subtitles(tmp_path / "none.srt")
