"""Optional back ends: refused where they are wrong; held to the barcode where they are installed."""

import importlib.util
import sys

import pytest

from tests.media import clips
from unifusion.errors import ConfigError
from unifusion.media import Sampling, read_clip

FIT = ("mp4", "mkv", "fragmented", "webm_vp9", "long_gop", "vfr", "slices", "rotated", "late_video")
BACKENDS = ("decord", "torchcodec")


def read(name, backend, **other):
    return read_clip(clips.make(name).data, video=Sampling(count=5), audio=False, backend=backend, **{"strict": False, **other})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_missing_back_end_names_the_extra(backend, monkeypatch):
    monkeypatch.setitem(sys.modules, backend, None)
    monkeypatch.setitem(sys.modules, f"{backend}.decoders", None)
    with pytest.raises(ConfigError, match=rf"unifusion-x\[{backend}\]"):
        read("mp4", backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["ts", "ts_cut", "avi", "edit_list"])
def test_files_they_get_wrong_are_refused(backend, name):
    with pytest.raises(ConfigError, match='use backend="pyav"'):
        read(name, backend)


def test_open_groups_of_pictures_are_not_for_decord():
    """It gave the frames of another group after a jump."""
    with pytest.raises(ConfigError, match="open groups"):
        read("open_gop", "decord")


@pytest.mark.parametrize("backend", BACKENDS)
def test_strict_reading_is_refused(backend):
    with pytest.raises(ConfigError, match="strict=False"):
        read("mp4", backend, strict=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FIT)
@pytest.mark.parametrize("start_s", [None, 1.3])
def test_frames_are_the_ones_on_screen(backend, name, start_s):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    clip = clips.make(name)
    result = read(name, backend, start_s=start_s)
    offset = start_s or 0.0
    numbers = [clips.number_of(f) for f in result.frames_THWC]
    assert len(numbers) == 5
    assert all(n == clip.number_at(t + offset) or t == 0.0 for n, t in zip(numbers, result.frame_times_s, strict=True))
    assert any(backend in note for note in result.notes)
