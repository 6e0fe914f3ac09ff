"""Subtitles that a clip carries itself."""

from fractions import Fraction

import av
import pytest

from unifusion.cli.checks.codecs import make_clip
from unifusion.conversation import Line
from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.embedded import embedded_lines

LINES = ((200, "<i>Hi</i>, you"), (600, "two\nrows"))


def with_subtitles(path, codec, streams=(("", LINES),)):
    """A clip of a second with streams of subtitles: (language, lines)."""
    plain = path.with_name("plain.mp4")
    make_clip(plain, "libx264", "")
    with av.open(str(plain)) as clip, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(clip.streams.video[0])
        texts = []
        for language, _ in streams:
            texts.append(out.add_stream(codec))
            texts[-1].time_base, texts[-1].codec_context.subtitle_header = Fraction(1, 1000), b"[Script Info]\n"
            texts[-1].metadata["language"] = language
        for packet in clip.demux(clip.streams.video[0]):
            if packet.dts is not None:
                packet.stream = picture
                out.mux(packet)
        for stream, (_, lines) in zip(texts, streams, strict=True):
            for at_ms, text in lines:
                raw = text.encode()
                packet = av.Packet(len(raw).to_bytes(2, "big") + raw if codec == "mov_text" else raw)
                packet.stream, packet.time_base, packet.pts, packet.dts, packet.duration = stream, Fraction(1, 1000), at_ms, at_ms, 300
                out.mux(packet)
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "subrip"), ("a.mp4", "mov_text")])
def test_they_are_read_with_their_times(tmp_path, name, codec):
    path = with_subtitles(tmp_path / name, codec)
    assert embedded_lines(path) == [Line(0.2, 0.5, "Hi, you"), Line(0.6, 0.9, "two rows")]
    assert embedded_lines(path.read_bytes()) == embedded_lines(path)


def test_a_language_is_chosen_and_one_that_is_not_there_told(tmp_path, caplog):
    path = with_subtitles(tmp_path / "a.mkv", "subrip", [("eng", LINES), ("ger", ((100, "Hallo"),))])
    assert embedded_lines(path, language="ger") == [Line(0.1, 0.4, "Hallo")]
    assert len(embedded_lines(path)) == 2
    assert len(embedded_lines(path, language="fra")) == 2 and "no subtitles in fra (there are eng, ger)" in caplog.text


def test_none_is_no_error_and_no_clip_is_one(tmp_path):
    make_clip(tmp_path / "plain.mp4", "libx264", "aac")
    assert embedded_lines(tmp_path / "plain.mp4") == []
    (tmp_path / "bad.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + b"\0" * 500)
    with pytest.raises(MediaError, match=r"bad\.mkv"):
        embedded_lines(tmp_path / "bad.mkv")
    path = with_subtitles(tmp_path / "a.mkv", "subrip")
    with pytest.raises(LimitError, match="subtitles of more than"):
        embedded_lines(path, limits=Limits(max_text_chars=2, max_seconds=60))
