"""Where a clip is cut into windows: at shots, pauses or a fixed length, and never through a line that is said."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from unifusion.conversation import Line
from unifusion.errors import ConfigError

__all__ = ["cut_windows"]

_EPSILON_S = 1e-6


def cut_windows(
    span_s: tuple[float, float], lines: Sequence[Line], *, window_s: float, shots: Sequence[float] = (),
    pauses: Sequence[tuple[float, float]] = (),
) -> list[tuple[float, float]]:  # fmt: skip
    """Cut a span into windows that follow each other without a gap.

    No cut lies within a line; lines that overlap hold together. A window is at most `window_s` long, unless one line, or several that
    overlap, are longer: it then ends with them. It ends, in this order,

    1. at the last shot that begins in the second half of the time allowed, else
    2. in the middle of the longest pause whose middle lies there, else
    3. in the middle of the longest gap between two lines that lies there, else
    4. after `window_s`, else, where that is within a line, before that line.

    What remains is the last window; where less than a quarter of `window_s` would remain, the one before ends earlier.

    Args:
        span_s: first and last second.
        lines: what is said.
        window_s: length wanted.
        shots: seconds at which shots begin.
        pauses: silent spans.

    Raises:
        ConfigError: a window without a length.
    """
    if not window_s > 0:
        raise ConfigError(f"windows of {window_s!r} s;", remedy="give a length in seconds.")
    blocks = _blocks(lines)
    gaps = [(a, b) for (_, a), (b, _) in pairwise(blocks)]
    start_s, end_s = span_s
    cuts = [start_s]
    while end_s - cuts[-1] > window_s + _EPSILON_S:
        low, high = cuts[-1] + window_s / 2, min(cuts[-1] + window_s, end_s - window_s / 4)
        places = [shot for shot in shots if low < shot <= high and _free(shot, blocks)][-1:]
        places = places or _longest(pauses, low, high, blocks) or _longest(gaps, low, high, blocks) or [_whole(cuts[-1], high, blocks)]
        if places[0] >= end_s - _EPSILON_S:
            break
        cuts.append(places[0])
    edges = [round(cut, 3) for cut in [*cuts, end_s]]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def _blocks(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Spans of lines, those that overlap joined."""
    blocks: list[tuple[float, float]] = []
    for line in sorted(lines, key=lambda x: x.start_s):
        if blocks and line.start_s < blocks[-1][1] - _EPSILON_S:
            blocks[-1] = (blocks[-1][0], max(blocks[-1][1], line.end_s))
        else:
            blocks.append((line.start_s, line.end_s))
    return blocks


def _free(at_s: float, blocks: Sequence[tuple[float, float]]) -> bool:
    """Whether nothing is being said at a moment."""
    return all(at_s <= a + _EPSILON_S or at_s >= b - _EPSILON_S for a, b in blocks)


def _longest(spans: Sequence[tuple[float, float]], low: float, high: float, blocks: Sequence[tuple[float, float]]) -> list[float]:
    """The middle of the longest span whose middle lies in (low, high] and in no line; of equal ones the last."""
    inside = [(b - a, (a + b) / 2) for a, b in spans if low < (a + b) / 2 <= high and _free((a + b) / 2, blocks)]
    return [max(inside)[1]] if inside else []


def _whole(begin_s: float, high: float, blocks: Sequence[tuple[float, float]]) -> float:
    """The end of the time allowed, before the line that it lies in, or behind one that fills all of it."""
    inside = next(((a, b) for a, b in blocks if a + _EPSILON_S < high < b - _EPSILON_S), None)
    if inside is None:
        return high
    return inside[0] if inside[0] > begin_s + _EPSILON_S else inside[1]
