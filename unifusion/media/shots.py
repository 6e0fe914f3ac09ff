"""Where the picture cuts from one shot to the next: by histograms of colour, or by the library PySceneDetect.

Both are fed decoded frames in their order, a few at a time, and keep a handful of them: a film costs no more memory than a clip.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["BACK_ENDS", "RATE_HZ", "BackEnd", "HistogramShots", "SceneShots", "shot_finder"]

BackEnd = Literal["histogram", "pyscenedetect"]
BACK_ENDS: tuple[BackEnd, ...] = ("histogram", "pyscenedetect")
RATE_HZ = 10.0
"""Frames a second that are looked at; a cut is known as exactly."""
_BINS = 8
_GRID_PX = 64
_RECENT = 10
_LEAST_S = 0.5


class HistogramShots:
    """A cut is where the colours of a frame differ from the last by more than `threshold`, and by more than twice what is usual there.

    The distance is half the sum of differences of two histograms of 8 x 8 x 8 colours: 0 of equal pictures, 1 of nothing in common. What
    does not last (a flash of one frame) is no cut; neither is one less than 0.5 s after another.

    Args:
        threshold: least distance of a cut. Ends of 19 real clips against beginnings of others: 0.36 at least, median 0.74; within their
            shots 0.31 at most, with hands in front of the camera and all.
    """

    def __init__(self, threshold: float = 0.35) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"a threshold of {threshold!r};", remedy="give a distance of histograms between 0 and 1.")
        self.threshold = threshold
        self.cuts: list[float] = []
        """Seconds at which a new shot begins."""
        self._last: deque[tuple[float, np.ndarray]] = deque(maxlen=2)
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, frames_THWC: np.ndarray, times_T: np.ndarray) -> None:
        """Look at further frames (uint8 RGB) with their seconds."""
        for frame_HWC, at_s in zip(frames_THWC, times_T, strict=True):
            histogram = _histogram(frame_HWC)
            if len(self._last) == 2:
                self._judge(histogram)
            self._last.append((float(at_s), histogram))

    def _judge(self, after: np.ndarray) -> None:
        """Whether a shot begins with the last frame, now that the one after it is there."""
        (_, before), (at_s, now) = self._last
        step = _distance(before, now)
        usual = float(np.median(self._recent)) if self._recent else 0.0
        if step > self.threshold and _distance(before, after) <= self.threshold:
            self._last.pop()  # a flash: what comes after is compared with what was before
        elif step > max(self.threshold, 2 * usual) and at_s - (self.cuts[-1] if self.cuts else -_LEAST_S) >= _LEAST_S:
            self.cuts.append(at_s)
            self._recent.clear()
        else:
            self._recent.append(step)


class SceneShots:
    """The same by PySceneDetect's ContentDetector (https://www.scenedetect.com), with its own threshold, fed with our frames.

    Args:
        rate_hz: of the frames.

    Raises:
        ConfigError: it is not installed.
    """

    def __init__(self, rate_hz: float = RATE_HZ) -> None:
        try:
            from scenedetect import ContentDetector, FrameTimecode
        except ImportError as error:
            raise ConfigError("--shots pyscenedetect needs PySceneDetect;", remedy="pip install 'unifusion-x[shots]'.") from error
        self.rate_hz = rate_hz
        self.cuts: list[float] = []
        self._detector: Any = ContentDetector(min_scene_len=max(1, round(_LEAST_S * rate_hz)))
        self._code, self._times = FrameTimecode, []

    _times: list[float]

    def add(self, frames_THWC: np.ndarray, times_T: np.ndarray) -> None:
        """Look at further frames (uint8 RGB) with their seconds."""
        for frame_HWC, at_s in zip(frames_THWC, times_T, strict=True):
            number = len(self._times)
            self._times.append(float(at_s))
            bgr_HWC = np.ascontiguousarray(frame_HWC[..., ::-1])
            found = self._detector.process_frame(self._code(number, fps=self.rate_hz), bgr_HWC)
            self.cuts += [self._times[cut.frame_num] for cut in found]


def shot_finder(back_end: str) -> HistogramShots | SceneShots:
    """A detector by its name.

    Raises:
        ConfigError: there is none of that name, or it is not installed.
    """
    if back_end not in BACK_ENDS:
        raise ConfigError(f"no shot detector {back_end!r};", remedy=f"known: {', '.join(BACK_ENDS)}.")
    return HistogramShots() if back_end == "histogram" else SceneShots()


def _histogram(frame_HWC: np.ndarray) -> np.ndarray:
    """Shares (512,) of the colours of a frame, of at most 64 x 64 of its pixels."""
    height, width = frame_HWC.shape[:2]
    small = frame_HWC[:: max(1, height // _GRID_PX), :: max(1, width // _GRID_PX)].astype(np.int64) * _BINS // 256
    index = (small[..., 0] * _BINS + small[..., 1]) * _BINS + small[..., 2]
    counts = np.bincount(index.reshape(-1), minlength=_BINS**3)
    return np.asarray(counts / index.size)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Half the sum of differences: 0 to 1."""
    return float(np.abs(one - other).sum() / 2)
