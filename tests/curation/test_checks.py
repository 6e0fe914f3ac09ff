"""Checks of one clip and of one row's words, each apart."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from unifusion.cli.checks.codecs import make_clip
from unifusion.conversation import Clip, Example, Media, Mix
from unifusion.curation.lines import SPLITS, Checked, RowChecks, check_example, check_line, clips_of, of_dataset
from unifusion.curation.media_checks import MediaChecks, header
from unifusion.curation.talk_checks import TalkChecks, context_of
from unifusion.datasets._within import Within, leads_out
from unifusion.errors import CheckpointError, DatasetError
from unifusion.limits import Limits


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "b.wav", np.zeros(8000), 16_000)
    make_clip(folder / "a.mp4", "libx264", "aac")
    make_clip(folder / "silent.mp4", "libx264", "")
    Image.new("RGB", (8, 8)).save(folder / "i.png")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "words.wav").write_text("This is no sound.")
    return folder


def kinds(media, **checks):
    return [kind for kind, _, remedy, _ in MediaChecks(**checks)(media) if remedy]


@pytest.mark.parametrize(
    ("kind", "name", "wanted"),
    [
        ("audio", "b.wav", []),
        ("video", "a.mp4", []),
        ("audio", "a.mp4", []),
        ("image", "i.png", []),
        ("video", "i.png", []),
        ("video", "silent.mp4", []),
        ("audio", "silent.mp4", ["no_stream"]),
        ("audio", "i.png", ["no_stream"]),
        ("video", "b.wav", ["no_stream"]),
        ("image", "b.wav", ["no_stream"]),
        ("audio", "empty.wav", ["empty_file"]),
        ("audio", "words.wav", ["broken_file"]),
        ("audio", "gone.wav", ["missing"]),
        ("audio", ".", ["not_a_file"]),
    ],
)
def test_what_a_file_must_hold(folder, kind, name, wanted):
    media = Media(kind=kind, source=str(folder / name))
    assert kinds(media) == kinds(media, base=folder) == kinds(media, root=folder.resolve()) == wanted
    assert kinds(media, depth="none") == []


@pytest.mark.parametrize(
    ("start_s", "end_s", "wanted"),
    [
        (None, None, []),
        (0.1, None, []),
        (0.1, 0.5, []),
        (0.0, 0.9, []),
        (0.0, 1.2, ["span_late"]),
        (0.5, None, ["span"]),
        (7.0, 8.0, ["span"]),
        (0.2, 0.2, ["span"]),
        (0.3, 0.2, ["span"]),
        (None, 0.0, ["span"]),
        (0.0, 601.0, ["span", "span_late"]),
    ],
)
def test_spans(folder, start_s, end_s, wanted):
    assert kinds(Media(kind="audio", source=str(folder / "b.wav"), start_s=start_s, end_s=end_s)) == wanted
    assert kinds(Media(kind="audio", source=(folder / "b.wav").read_bytes(), start_s=start_s, end_s=end_s)) == wanted


def test_clips_that_are_no_files_are_left_to_who_makes_them(folder):
    for source in (Clip(), Mix(), "clip-world://0/1"):
        assert kinds(Media(kind="video", source=source), root=folder) == []
    for address in ("https://example.org/a.mp4", "rtsp://x/y", "s3://bucket/a.mp4"):
        assert kinds(Media(kind="video", source=address), depth="none") == ["url"]
    assert kinds(Media(kind="audio", source=b"no sound")) == ["broken_file"] and kinds(Media(kind="audio", source=b"x"), depth="none") == []
    assert kinds(Media(kind="audio", source=(folder / "b.wav").read_bytes()), depth="decode") == []


def test_a_header_is_read_once(folder, monkeypatch):
    path = str(folder / "b.wav")
    assert header(path).duration_s == 0.5
    os.remove(path)
    assert header(path).duration_s == 0.5 and header(str(folder / "b\0.wav"))[0] == "missing"


def test_where_files_may_lie(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in" / "loop")
    free, bound = Within(tmp_path / "in"), Within(tmp_path / "in", tmp_path / "in")
    for name in ("a.wav", "deep/../a.wav", "deep/a.wav", "clip-world://0/1", ""):
        assert bound(name, "here") == free(name, "here") == str(tmp_path / "in" / name)
    for name in ("../a.wav", "up/a.wav", "/etc/passwd", "deep/../../a.wav"):
        assert free(name, "here") == str(tmp_path / "in" / name)
        with pytest.raises(DatasetError, match=f"here: '{name}' leads out of"):
            bound(name, "here")
    assert leads_out(tmp_path / "in", tmp_path.resolve()) == "" and leads_out(Path("/x\0y"), Path("/"))


def words(example, **checks):
    return [kind for kind, *_ in TalkChecks(**checks)(example)]


def test_words_of_a_row():
    turn = {"role": "user", "content": "What?"}
    said = {"role": "assistant", "content": "A bell."}
    assert words(Example(id="a", labels={"messages": [turn, said]})) == []
    assert words(Example(id="a", labels={"messages": [turn]})) == ["no_answer"]
    assert words(Example(id="a", labels={"messages": [turn, {**said, "content": ""}]})) == ["empty_answer"]
    assert (
        words(Example(id="a", labels={"messages": [said, turn]}))
        == ["turns"]
        == words(Example(id="a", labels={"messages": [turn, turn, said]}))
    )
    assert words(Example(id="a", labels={"messages": [{"role": "x"}]})) == ["messages"]
    assert words(Example(id="a", texts={"caption": "", "rationale": "\n"})) == ["empty_answer"] * 2
    assert words(Example(id="a", texts={"note": "x" * (Limits.max_text_chars + 1)})) == ["too_long"]
    assert words(Example(id="a", labels={"emotion": "joy"}), tasks=(("emotion", {}),)) == []
    assert words(Example(id="a", labels={"emotion": "x"}), tasks=(("emotion", {}), ("caption", {}))) == ["task", "task"]
    assert words(Example(id="a", labels={"emotion": "x"}), tasks=(("emotion", {"labels": ["x", "y"]}),)) == []
    media = [{"type": "audio", "path": "b.wav"}] * (Limits.max_media + 1)
    assert words(Example(id="a", labels={"messages": [{**turn, "content": media}, said]})) == ["too_long"]


def test_the_context_is_the_models():
    assert context_of("checkpoints/tiny-chat") == 1024
    with pytest.raises(CheckpointError):
        words(
            Example(id="a", labels={"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}), model="no/such"
        )


def test_clips_of_a_row_each_once():
    media = Media(kind="audio", source="b.wav")
    part = {"type": "audio", "path": "b.wav"}
    talk = [{"role": "user", "content": [part, {**part, "path": "c.wav"}]}]
    assert [m.source for m in clips_of(Example(id="a", media=(media,), labels={"messages": talk}))] == ["b.wav", "c.wav"]
    assert clips_of(Example(id="a", media=(media,), labels={"messages": [{"role": "robot"}]})) == [media]
    assert clips_of(Example(id="a", media=(media,), labels={"messages": "none"})) == [media]


def test_a_line_leaves_marks_of_what_it_names(folder):
    checks, out = RowChecks(file="f", media=MediaChecks(base=folder), talk=TalkChecks()), Checked()
    for number, line in enumerate(
        (b'{"id": "a", "audio": "b.wav", "group": "g", "split": "val"}', b'{"audio": "b.wav"}', b"{", b'{"split": "test"}'), 1
    ):
        check_line(line, True, number, checks, out)
    assert (out.rows, out.bad_rows, len(out.ids), len(out.groups), len(out.files)) == (4, 2, 1, 1, 1)
    assert out.groups[0][1:] == (1, SPLITS.index("val")) and [f.row for f in out.findings] == [3, 4]
    only = RowChecks(file="f", media=MediaChecks(base=folder), talk=TalkChecks(), split="val")
    check_line(b'{"audio": "gone.wav", "split": "train"}', True, 5, only, out)
    assert out.rows == 4
    outside = Example(id="x", media=(Media(kind="audio", source=str(folder / ".." / "in" / ".." / "in" / "b.wav")),))
    assert list(check_example(outside, of_dataset(checks))) == []
