"""Keys that are nearly others, and tags that have no file."""

import pytest

from tests.curation.hostile import talk
from unifusion.curation.keys import misspelt, tags_and_files


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"mesages": []}, [("mesages", "messages")]),
        ({"Messages": []}, [("Messages", "messages")]),
        ({"start-s": 1}, [("start-s", "start_s")]),
        ({"transcrpt": "x", "messages": []}, [("transcrpt", "transcript")]),
        ({"emotoin": "x"}, [("emotoin", "emotion")]),
        ({"path": "a", "start": 1, "end": 2}, [("start", "start_s"), ("end", "end_s")]),
        ({"start": 1, "end": 2}, []),
        ({"path": "a", "start": 1, "start_s": 1}, []),
        ({"path": "a", "start": "monday"}, []),
        ({"messages": [{"role": "user", "contnt": "x"}]}, [("contnt", "content")]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "texts": "x", "trancript": "y"}]}]},
            [("texts", "text"), ("trancript", "transcript")],
        ),
        ({"video_id": 1, "image_id": 2, "idx": 3, "user": 4, "emotion8": "x", "labels": {"mesages": 1}}, []),
    ],
)
def test_slips(row, told):
    assert list(misspelt(row)) == told and list(misspelt(row, [key for key, _ in told])) == []


def test_rows_as_they_should_be_have_none():
    assert list(misspelt({"id": "a", "messages": talk(start=1.0), "group": "g", "videos": [], "conversations": [], "query": ""})) == []


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": [{"role": "user", "content": "<video>a<video>"}], "videos": ["a"]}, [("video", 2, 1)]),
        ({"messages": [{"role": "user", "content": "<video>a"}], "videos": ["a"]}, []),
        ({"messages": [{"role": "user", "content": "a"}], "audios": ["a"], "images": ["b"]}, [("audio", 0, 1), ("image", 0, 1)]),
        ({"conversations": [{"from": "human", "value": "<image>\na"}], "video": "a.mp4"}, []),
        ({"messages": talk()}, []),
        ({"messages": 3}, []),
        ({"conversations": [{"from": "human", "value": "<image>a"}, {"from": "gpt", "value": "an <image>"}], "image": "a.png"}, []),
    ],
)
def test_tags(row, told):
    assert list(tags_and_files(row)) == told
