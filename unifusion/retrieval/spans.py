"""Into which windows a clip is cut."""

from __future__ import annotations

from pathlib import Path

from unifusion.limits import Limits

__all__ = ["measured_s", "plan"]

_EPSILON_S = 1e-3
_SHORT = 0.25
"""Share of a window below which a rest is no window of its own."""


def plan(begin_s: float, end_s: float, *, window_s: float, hop_s: float, max_seconds: float) -> list[tuple[float, float]]:
    """Spans of the windows of [begin_s, end_s), each at most `max_seconds` long.

    Windows begin every `hop_s`. A clip that is no longer than a window is one. The last window may be shorter, down to a quarter of
    `window_s`; a rest below that is joined to the window before where `max_seconds` lets that grow, and else the last window begins
    earlier, so that it has its full length.
    """
    spans: list[tuple[float, float]] = []
    count = 0
    while True:
        start_s = begin_s + count * hop_s
        if count and start_s >= end_s - _EPSILON_S:
            return spans
        stop_s = min(start_s + window_s, end_s)
        short = stop_s - start_s < _SHORT * window_s
        if count and short and start_s <= spans[-1][1] + _EPSILON_S and stop_s - spans[-1][0] <= max_seconds + _EPSILON_S:
            spans[-1] = (spans[-1][0], stop_s)
        elif count and short:
            spans.append((max(begin_s, stop_s - window_s), stop_s))
        else:
            spans.append((start_s, stop_s))
        if stop_s >= end_s - _EPSILON_S:
            return spans
        count += 1


def measured_s(path: str, limits: Limits) -> float:
    """Length of a file whose header does not tell it (what a browser recorded): where its last packet ends. Nothing is decoded.

    Raises:
        MediaError: it cannot be opened, or is longer than `limits` allow.
    """
    from unifusion.errors import LimitError
    from unifusion.media.container import open_container, typed_errors
    from unifusion.media.source import open_source

    end_s = 0.0
    with open_source(Path(path), limits) as source, open_container(source, limits, strict=False) as opened:
        streams = [s for s in (opened.video, opened.audio) if s is not None]
        with typed_errors(path, "reading it to its end", "convert it again."):
            for packet in opened.container.demux(*streams):
                ticks = packet.pts if packet.pts is not None else packet.dts
                if ticks is None or packet.time_base is None:
                    continue
                end_s = max(end_s, float((ticks + (packet.duration or 0)) * packet.time_base) - opened.zero_s)
                if end_s > limits.max_seconds:
                    raise LimitError(f"{path}: longer than {limits.max_seconds:g} s;", remedy="cut it or raise limits.max_seconds.")
    return end_s
