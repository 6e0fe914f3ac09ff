"""Decoding in a killable child."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from tests.media import clips
from unifusion.errors import ConfigError, LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media import Sampling, isolate, probe, read_clip


@pytest.fixture(scope="module")
def clip():
    return clips.make("mp4").data


def read(source, limits=None, **other):
    return read_clip(source, video=Sampling(count=6), audio=True, limits=limits or Limits(), isolate=True, **other)


def test_the_child_gives_what_this_process_would(clip, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    here = read_clip(path, start_s=0.5, video=Sampling(count=6), audio=True)
    for source in (path, clip):
        there = read(source, start_s=0.5)
        for name in ("frames_THWC", "frame_times_s", "corrupt_T", "waveform_N"):
            assert np.array_equal(getattr(there, name), getattr(here, name))
            assert getattr(there, name).dtype == getattr(here, name).dtype
        assert (there.duration_s, there.start_s, there.notes) == (here.duration_s, here.start_s, here.notes)
    assert probe(path, isolate=True) == probe(path)


def test_a_child_is_used_again(clip):
    read(clip)
    first = isolate._POOL._idle[-1]
    read(clip)
    assert isolate._POOL._idle[-1] is first


def test_errors_cross_as_they_are(clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip[:9000])
    with pytest.raises(MediaError, match=r"broken\.mp4: reading the header failed") as caught:
        read(broken)
    assert caught.value.remedy
    with pytest.raises(LimitError, match="max_pixels"):
        read(clip, Limits(max_pixels=100))
    with pytest.raises(ConfigError, match="no back end"):
        read_clip(clip, video=Sampling(count=1), audio=False, isolate=True, backend="nonesuch")


@pytest.mark.alone
def test_time_is_up(clip):
    read(clip)
    child = isolate._POOL._idle[-1]
    os.kill(child._process.pid, signal.SIGSTOP)  # a decoder that hangs
    began = time.monotonic()
    with pytest.raises(LimitError, match=r"not decoded within 0\.5 s"):
        read(clip, Limits(decode_timeout_s=0.5))
    assert time.monotonic() - began < 5.0
    assert not child.alive
    assert len(read(clip).frames_THWC) == 6


def test_a_child_that_dies_is_an_error_and_is_replaced(clip):
    read(clip)
    child = isolate._POOL._idle[-1]
    asked = child.ask
    child.ask = lambda *args: os.kill(child._process.pid, signal.SIGSEGV) or asked(*args)
    with pytest.raises(MediaError, match=r"the decoder died on this file \(status -11\)"):
        read(clip)
    assert len(read(clip).frames_THWC) == 6


def test_memory_is_bounded(clip):
    with pytest.raises(MediaError, match=r"memory|damaged"):
        read(clip, Limits(decode_memory_bytes=200 * 1024**2))
    assert len(read(clip).frames_THWC) == 6


def test_a_child_without_torch_and_transformers(clip):
    read(clip)
    maps = open(f"/proc/{isolate._POOL._idle[-1]._process.pid}/maps", encoding="utf-8").read()
    assert "libavcodec" in maps
    assert "libtorch" not in maps


@pytest.mark.parametrize("answer", [b"", b"\5\0\0\0\0\0\0\0hello", b"\xff" * 8, b"\2\0\0\0\0\0\0\0{}"])
def test_nonsense_from_a_child_is_an_error(clip, answer, monkeypatch):
    """A decoder that was taken over may say anything."""
    import io

    read(clip)
    child = isolate._POOL._idle[-1]
    monkeypatch.setattr(isolate._Child, "_out", property(lambda self: io.BytesIO(answer)))
    with pytest.raises(MediaError):
        read(clip)
    monkeypatch.undo()
    assert not child.alive
    assert len(read(clip).frames_THWC) == 6


def _after_fork(clip, queue):
    queue.put(len(read(clip).frames_THWC))


def test_a_forked_process_starts_its_own_child(clip):
    read(clip)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_after_fork, args=(clip, queue))
    process.start()
    assert queue.get(timeout=60) == 6
    process.join(timeout=20)
    assert len(read(clip).frames_THWC) == 6
