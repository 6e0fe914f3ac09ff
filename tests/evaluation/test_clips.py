"""Clips that a person named: manifests, messages, folders and files come to the same references that chat makes."""

import json

import pytest

from unifusion.cli.checks.codecs import make_clip
from unifusion.errors import DatasetError, MediaError
from unifusion.evaluation.clips import named_clips


@pytest.fixture
def root(tmp_path):
    make_clip(tmp_path / "in" / "a.wav", "", "pcm_s16le") if (tmp_path / "in").mkdir() is None else None
    make_clip(tmp_path / "in" / "b.mp4", "libx264", "aac")
    (tmp_path / "in" / "c").write_bytes((tmp_path / "in" / "a.wav").read_bytes())
    return tmp_path


def media(*words):
    return [make() for _, make in named_clips(words)[0]]


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_folders_by_content(root):
    (root / "in" / "readme.txt").write_text("words", encoding="utf-16")
    (root / "in" / ".hidden.wav").write_bytes(b"x")
    (root / "in" / "broken.MP3").write_bytes(b"")
    clips, passed_over = named_clips([root])
    assert [name.rpartition("/")[2] for name, _ in clips] == ["a.wav", "b.mp4", "broken.MP3", "c"] and passed_over == 1
    assert [make().kind for name, make in clips if "broken" not in name] == ["audio", "video", "audio"]
    with pytest.raises(MediaError, match=r"broken\.MP3"):
        next(make for name, make in clips if "broken" in name)()
    (root / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no clips"):
        named_clips([root / "empty"])


def test_a_manifest(root):
    rows = [{"path": "in/a.wav"}, {"video": "in/b.mp4", "audio": ["in/a.wav", "in/c"], "start_s": 0.25}, {"path": "clip-world://0/1"}]
    found = media(lines(root / "m.jsonl", *rows))
    assert [(m.kind, m.start_s) for m in found] == [("audio", None), ("video", 0.25), ("audio", 0.25), ("audio", 0.25), ("video", None)]
    assert found[0].source == str(root / "in" / "a.wav") and found[-1].source == "clip-world://0/1"


def test_messages(root):
    def row(*parts):
        return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}, {"role": "assistant", "content": "x"}]}

    rows = [
        row({"type": "video", "path": "in/b.mp4", "start": 0.1, "end": 0.5}), row(),
        row({"type": "audio", "path": str(root / "in" / "a.wav")}, {"type": "video", "path": "clip-world://0/1"}),
    ]  # fmt: skip
    found = media(lines(root / "talks.jsonl", *rows))
    assert [(m.kind, m.source, m.start_s, m.end_s) for m in found] == [
        ("video", str(root / "in" / "b.mp4"), 0.1, 0.5), ("audio", str(root / "in" / "a.wav"), None, None),
        ("video", "clip-world://0/1", None, None),
    ]  # fmt: skip
    with pytest.raises(DatasetError, match=r"talks\.jsonl:2"):
        named_clips([lines(root / "talks.jsonl", rows[0], {"messages": [{"role": "robot", "content": ""}]})])
    with pytest.raises(DatasetError, match="cannot read the manifest"):
        named_clips([root / "none.jsonl"])
