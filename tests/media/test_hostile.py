"""Files that are too much, and names and files that would make a decoder read something else."""

import time

import pytest

from tests.media import clips, hostile
from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media import Sampling, probe, read_clip
from unifusion.media.sniff import sniff_head


def read(source, limits=None):
    return read_clip(source, video=Sampling(count=8), audio=True, limits=limits or Limits())


BOMBS = {
    "many_frames": (hostile.many_frames, "2000000 frames, at most 1000000"),
    "fast_rate": (hostile.fast_rate, "1000 frames per second, at most 480"),
    "long_opus": (hostile.long_opus, "seconds, at most 14400"),
    "huge_png": (hostile.huge_png, "at most 9437184 pixels"),
    "huge_picture": (lambda: hostile.huge_picture(4096), "4096x4096"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_their_header(name):
    data, words = BOMBS[name][0](), BOMBS[name][1]
    for attempt in (probe, read):
        began = time.process_time()
        with pytest.raises(LimitError, match=words):
            attempt(data)
        assert time.process_time() - began < 2.0


def test_frames_that_are_there_are_counted_even_if_the_header_is_silent():
    data = hostile.really_many_frames(3000)
    with pytest.raises(LimitError, match="3000 frames"):
        read(data, Limits(max_frames=2999))


def test_too_many_streams_and_bytes():
    with pytest.raises(LimitError, match="2 streams"):
        read(clips.make("mp4").data, Limits(max_streams=1))
    with pytest.raises(LimitError, match="bytes, at most 1000"):
        read(clips.make("mp4").data, Limits(max_bytes=1000))


def test_sixteen_attacks_read_nothing_else(tmp_path):
    with hostile.canary() as (address, hits):
        for name, path in hostile.attacks(tmp_path, address).items():
            for isolate in (False, True) if name in ("url", "m3u8_named_mp4") else (False,):
                with pytest.raises(MediaError):
                    read_clip(path, video=Sampling(count=2), audio=True, isolate=isolate)
    assert hits == []


def test_the_attacks_would_work_without_the_guard(tmp_path):
    """A guard is tested against something: plain PyAV opens the address and the other user's clip."""
    import av

    with hostile.canary() as (address, hits):
        paths = hostile.attacks(tmp_path, address)
        with pytest.raises(av.FFmpegError):
            av.open(paths["url"])
        assert len(hits) >= 1
        with av.open(paths["ffconcat_named_mp4"], options={"safe": "0"}) as container:
            assert container.streams.video


def test_a_forced_demuxer_does_not_follow_a_playlist(monkeypatch, tmp_path):
    """Should a playlist ever pass the sniffing, its demuxer is not among the allowed ones."""
    from unifusion.media import sniff, source

    playlist = tmp_path / "a.mp4"
    playlist.write_text("ffconcat version 1.0\nfile 'victim.ts'\n")
    (tmp_path / "victim.ts").write_bytes(clips.make("ts").data)
    monkeypatch.setattr(source, "sniff", lambda handle, name: sniff.Kind("mpegts", "concat", "mpegts"))
    with pytest.raises(MediaError, match="reading the header failed"):
        read(playlist)


@pytest.mark.parametrize("bad", ["", "a\0b.mp4", "no/such/file.mp4", "x" * 5000])
def test_names_that_are_no_file(bad):
    with pytest.raises(MediaError, match=r"cannot be opened|not a regular file"):
        read(bad)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"hello, I am a text", b"RIFF\0\0\0\0ABCD", b"\xff\xff\xff\xff" * 10, b"BM, not a picture at all, really"],
)
def test_what_is_no_media_is_refused(content):
    with pytest.raises(MediaError, match=r"no known format|empty"):
        probe(content)


def test_formats_are_named_by_their_bytes():
    wanted = {"mp4": "mov", "mkv": "matroska", "webm_vp9": "matroska", "ts": "mpegts", "ts_cut": "mpegts", "avi": "avi"}
    assert {name: sniff_head(clips.make(name).data[:4096]).name for name in wanted} == wanted
    mid_packet = clips.make("ts").data[100:5000]
    assert sniff_head(mid_packet).name == "mpegts"
    assert sniff_head(b"\xff\xfb\x90\x64" + bytes(100)).name == "mp3"
    for begin in ("1", "WEBVTT", "\u4e2d", "\u0430"):  # FF FE, as MPEG layer I begins, too
        assert sniff_head(f"{begin}\r\n00:01.000 --> 00:02.000\r\nWords.".encode("utf-16")) is None
    assert sniff_head(b"\xff\xf1\x50\x80" + bytes(100)).name == "aac"
    assert sniff_head(b"\0\0\0\x1cftypavif" + bytes(20)).name == "avif"
