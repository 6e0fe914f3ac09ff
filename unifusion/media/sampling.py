"""Which frames to take, chosen by presentation time from what is really in the file.

Never by the declared frame count: that is 0 for Matroska, fragmented mp4 and MPEG-TS, and too high after a cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unifusion.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TOLERANCE_S", "Sampling"]

TOLERANCE_S = 1e-3
"""A frame that begins this much after a wanted time still counts as "at" it: Matroska rounds times to milliseconds."""
_MOST_TICKS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How frames are chosen; exactly one of `count`, `rate_hz`, `times_s`.

    A wanted time takes the frame that is on screen then: the last one presented at or before it.

    - `count`: the centres of `count` equal segments of the part of the span that has a picture. Fewer frames come back,
      with a note, where the span holds fewer.
    - `rate_hz`: the times 0, 1/rate, 2/rate .. of the span, from where the picture begins; a frame is taken once.
    - `times_s`: seconds from the start of the span, ascending; one frame for each. A time before the first frame takes the first.

    Args:
        max_frames: upper bound; a rate that gives more is lowered (uniform over the span), with a note.
        max_side_px: the longer side is scaled down to this while decoding; the aspect stays. Never scaled up.
    """

    count: int | None = None
    rate_hz: float | None = None
    times_s: tuple[float, ...] | None = None
    max_frames: int | None = None
    max_side_px: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        given = [n for n in ("count", "rate_hz", "times_s") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ConfigError(f"sampling by {given or 'nothing'};", remedy="give exactly one of count, rate_hz, times_s.")
        for name in ("count", "rate_hz", "max_frames", "max_side_px"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"sampling {name}={value!r};", remedy="give a positive number.")
        times = self.times_s
        if times is not None and (not times or list(times) != sorted(times) or not all(math.isfinite(t) and t >= 0 for t in times)):
            raise ConfigError(f"sampling times_s={times!r};", remedy="give at least one time, ascending, from 0 up.")

    @property
    def at_most(self) -> int | None:
        """The most frames this can give, where that is known before the file is read."""
        wanted = self.count if self.count is not None else len(self.times_s) if self.times_s is not None else None
        bounds = [n for n in (wanted, self.max_frames) if n is not None]
        return min(bounds) if bounds else None

    def choose(self, times_T: np.ndarray, end_s: float, span: tuple[float, float]) -> tuple[np.ndarray, list[str]]:
        """Pick frames.

        Args:
            times_T: presentation times, ascending, seconds on the clock of `span`; at least one.
            end_s: when the last of them leaves the screen.
            span: start and end (may be infinite) in seconds.

        Returns:
            Indices into `times_T`, ascending, and notes. No index when the picture lies outside the span.
        """
        import numpy as np

        low, high = max(span[0], float(times_T[0])), min(span[1], end_s)
        if high <= low:
            return np.zeros(0, np.int64), ["no picture in this span"]
        wanted, notes = self._targets(low, high, span[0])
        found = np.searchsorted(times_T, wanted + TOLERANCE_S, side="right") - 1
        indices = np.clip(found, 0, len(times_T) - 1)
        if self.times_s is not None:
            if float(wanted[-1]) > high + TOLERANCE_S:
                notes.append(f"the last time asked for is {wanted[-1] - span[0]:.2f} s, the picture ends at {high - span[0]:.2f} s")
            return indices, notes
        unique = np.unique(indices)
        if self.count is not None and len(unique) < len(wanted):
            notes.append(f"only {len(unique)} frames in this span, {len(wanted)} wanted")
        return unique, notes

    def _targets(self, low: float, high: float, start: float) -> tuple[np.ndarray, list[str]]:
        """Wanted times for a picture that lasts from `low` to `high` in a span that begins at `start`."""
        import numpy as np

        count, notes = self.count, list[str]()
        if self.times_s is not None:
            times = start + np.asarray(self.times_s, np.float64)
            if self.max_frames is not None and len(times) > self.max_frames:
                raise ConfigError(f"{len(times)} times asked for, max_frames={self.max_frames};", remedy="ask for fewer.")
            return times, notes
        if self.rate_hz is not None:
            first = math.ceil((low - start) * self.rate_hz - 1e-6)
            number = max(0, math.ceil((high - start) * self.rate_hz - 1e-6) - first)
            if number > _MOST_TICKS:
                raise ConfigError(f"rate_hz={self.rate_hz:g} gives {number} times;", remedy="ask for a lower rate or a shorter span.")
            if number == 0:  # the picture lies between two ticks: show what is there
                return np.asarray([low]), notes
            if self.max_frames is None or number <= self.max_frames:
                return start + (first + np.arange(number)) / self.rate_hz, notes
            count = self.max_frames
            lowered = count / (high - low)
            notes.append(f"frame rate lowered from {self.rate_hz:g} to {lowered:.3g} per second: {number} frames, at most {count}")
        count = min(count or 1, self.max_frames or count or 1)
        return low + (np.arange(count) + 0.5) * ((high - low) / count), notes
