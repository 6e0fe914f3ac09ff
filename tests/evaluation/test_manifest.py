"""Reading a prediction manifest: every mistake names its line, ids cannot collide, paths follow the manifest."""

import json

import pytest

from unifusion.errors import DatasetError, MediaError
from unifusion.evaluation.manifest import read_manifest


@pytest.fixture
def manifest(tmp_path):
    def write(*rows):
        path = tmp_path / "m.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def test_paths_follow_the_manifest(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    rows = read_manifest(
        manifest({"id": "a", "video": "v/a.mp4"}, {"id": "b", "audio": "/abs/b.wav"}, {"id": "c", "path": "clip-world://1/2"})
    )
    assert [row.clips.files for row in rows] == [
        (("video", str(tmp_path / "v/a.mp4")),), (("audio", "/abs/b.wav"),), (("path", "clip-world://1/2"),)
    ]  # fmt: skip


def test_kinds_follow_the_key(manifest):
    row = read_manifest(manifest({"id": "a", "image": "face.png", "audio": ["one.wav", "two.wav"], "start_s": 1, "end_s": 2.5}))[0]
    media = row.media()
    assert [m.kind for m in media] == ["audio", "audio", "image"]
    assert {(m.start_s, m.end_s) for m in media} == {(1, 2.5)}


def test_the_kind_of_a_path_is_read_from_its_header(manifest, tmp_path):
    from PIL import Image

    from unifusion.cli.checks.codecs import make_clip

    make_clip(tmp_path / "a.wav", "", "pcm_s16le")
    (tmp_path / "a.wav").rename(tmp_path / "sound.dat")
    Image.new("RGB", (32, 32)).save(tmp_path / "still.png")
    rows = read_manifest(manifest({"path": "sound.dat"}, {"path": "still.png"}, {"path": "missing.mp4"}))
    assert [row.media()[0].kind for row in rows[:2]] == ["audio", "image"]
    with pytest.raises(MediaError, match=r"missing\.mp4"):
        rows[2].media()


def test_the_rest_of_a_row_becomes_texts_and_labels(manifest):
    row = read_manifest(manifest({"id": 7, "video": "a.mp4", "question": "Who?", "caption": "x", "options": ["a", "b"]}))[0]
    example = row.example()
    assert row.id == "7"
    assert example.texts == {"caption": "x", "question": "Who?"}
    assert example.labels == {"options": ["a", "b"]}


def test_rows_without_an_id_take_their_line_number(manifest):
    assert [row.id for row in read_manifest(manifest({"path": "a"}, "", {"path": "b"}))] == ["1", "3"]


def test_a_separator_inside_a_text_ends_no_line(manifest):
    (row,) = read_manifest(manifest('{"id": "a", "path": "x", "caption": "one\u2028two\x85three\x0bfour"}'.replace("\x0b", "\\u000b")))
    assert row.fields["caption"] == "one\u2028two\x85three\x0bfour"


def test_a_row_is_marked_by_what_it_says(manifest):
    one, same, other = read_manifest(
        manifest({"id": "a", "path": "x"}, {"id": "b", "path": "x"}, {"id": "c", "path": "x", "question": "?"})
    )
    assert one.mark == same.mark != other.mark


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["{broken"], ":1: not JSON"),
        (['{"id": "a", "path": "a"}', "[1]"], ":2: list, wanted an object"),
        ([{"id": "a"}], ":1: names no file"),
        ([{"id": "a", "path": 3}], ":1: path is 3"),
        ([{"id": "a", "path": ""}], "path is ''"),
        ([{"id": "a", "path": "x", "question": 3}], "question is int"),
        ([{"id": "a", "path": "x", "transcript": ["hi"]}], "transcript is ['hi']"),
        ([{"id": "a", "path": "x", "start_s": "1"}], "start_s is '1'"),
        ([{"id": "a", "path": "x", "end_s": True}], "end_s is True"),
        ([{"id": "a", "path": "x", "start_s": float("nan")}], "NaN is no number of JSON"),
        ([{"id": "a", "path": "x", "end_s": float("inf")}], "Infinity is no number of JSON"),
        ([{"id": "a", "path": "x", "start_s": -1}], "start_s is -1"),
        ([{"id": "a", "path": "x"}, {"id": "a", "path": "y"}], ":2: the id 'a' stands twice"),
        ([{"id": 2, "path": "x"}, {"path": "y"}], ":2: the id '2' stands twice"),
        ([], "holds no rows"),
    ],
)
def test_a_mistake_is_named_with_its_line(manifest, rows, said):
    with pytest.raises(DatasetError) as raised:
        read_manifest(manifest(*rows))
    assert said in str(raised.value)


def test_a_manifest_that_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match="cannot read"):
        read_manifest(tmp_path / "none.jsonl")
