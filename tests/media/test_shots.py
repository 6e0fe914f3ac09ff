"""Shots by histograms and by PySceneDetect."""

import sys

import numpy as np
import pytest

from unifusion.errors import ConfigError
from unifusion.media.shots import BACK_ENDS, HistogramShots, SceneShots, shot_finder

COLOURS = ((200, 30, 30), (20, 60, 220), (240, 240, 90))


def film(lengths=(1.5, 2.0, 1.0), rate_hz=10.0, drift=2, flashes=(), grain=3):
    """Shots of one colour each with a square that wanders; frames (T, 48, 64, 3) and times."""
    frames, rng = [], np.random.default_rng(0)
    for number, length in enumerate(lengths):
        for step in range(round(length * rate_hz)):
            frame = np.full((48, 64, 3), COLOURS[number % 3], np.uint8)
            frame[10:26, (5 + drift * step) % 48 : (5 + drift * step) % 48 + 16] = 128
            frames.append(np.clip(frame + rng.normal(0, grain, frame.shape), 0, 255).astype(np.uint8))
    for at in flashes:
        frames[at] = np.full((48, 64, 3), 255, np.uint8)
    return np.stack(frames), np.arange(len(frames)) / rate_hz


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_cuts_are_found_however_the_frames_come(size):
    frames, times = film()
    finder = HistogramShots()
    for first in range(0, len(frames), size):
        finder.add(frames[first : first + size], times[first : first + size])
    assert finder.cuts == pytest.approx([1.5, 3.5])


def test_motion_flashes_and_cuts_close_together_are_none():
    frames, times = film((3.0,), drift=9, flashes=(8, 20))
    finder = HistogramShots()
    finder.add(frames, times)
    assert finder.cuts == []
    frames, times = film((1.0, 0.3, 2.0))
    finder = HistogramShots()
    finder.add(frames, times)
    assert finder.cuts == pytest.approx([1.0])


def test_what_always_changes_has_no_cuts():
    rng = np.random.default_rng(1)
    frames = np.stack([np.full((32, 32, 3), rng.integers(0, 255, 3), np.uint8) for _ in range(40)])
    finder = HistogramShots()
    finder.add(frames, np.arange(40) / 10)
    assert len(finder.cuts) <= 2, "before it is known that all of it changes"


def test_back_ends_and_thresholds_that_are_none():
    with pytest.raises(ConfigError, match="histogram, pyscenedetect"):
        shot_finder("ffmpeg")
    with pytest.raises(ConfigError, match="threshold"):
        HistogramShots(1.0)
    assert BACK_ENDS == ("histogram", "pyscenedetect") and isinstance(shot_finder("histogram"), HistogramShots)


def test_pyscenedetect_finds_the_same_cuts():
    pytest.importorskip("scenedetect", reason="pip install 'unifusion-x[shots]'")
    frames, times = film(grain=0)  # to it, grain on pure colours is another hue in every frame
    finder = SceneShots()
    finder.add(frames[:20], times[:20])
    finder.add(frames[20:], times[20:])
    assert finder.cuts == pytest.approx([1.5, 3.5])


def test_without_it_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(ConfigError, match=r"unifusion-x\[shots\]"):
        shot_finder("pyscenedetect")
