"""Long files without an index that can be trusted (mp3, wav, MPEG-TS ..): to reach a window they are read from their beginning, so that an
hour in windows of 6 s would be read 600 times. They are decoded in stretches of minutes, from which the windows are cut."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from unifusion.conversation import Media
from unifusion.errors import MediaError
from unifusion.limits import Limits

if TYPE_CHECKING:
    from unifusion.engine.recording import Kept

__all__ = ["Piece", "Rates", "pieces_of"]

Rates = tuple[float | None, int | None]
"""Frames and samples a second that an embedder decodes."""
_LONGEST_S = 300.0
_BYTES = 128 * 1024**2
"""Of the frames of a stretch."""
_FEW = 3
"""So many windows are read one by one."""
Span = tuple[float, float]


class Piece:
    """A stretch that is decoded when its first window is asked for, and forgotten after its last. Safe in threads.

    Args:
        media: the file.
        spans: its windows.
        rates: of frames and samples; None decodes no picture, or no sound.
        limits: of the file.
        isolate: decode in a killable child process.
    """

    def __init__(self, media: Media, spans: list[Span], rates: Rates, limits: Limits, isolate: bool) -> None:
        self._media, self._rates, self._limits, self._isolate = media, rates, limits, isolate
        self._begin_s, self._end_s = min(a for a, _ in spans), max(b for _, b in spans)
        self._left = len(spans)
        self._lock = threading.Lock()
        self._kept: Kept | None = None
        self._broken = False

    def window(self, media: Media) -> Media:
        """A window with its arrays; the reference as it is where the stretch cannot be decoded as a whole: then each tells for itself."""
        with self._lock:
            self._left -= 1
            if self._kept is None and not self._broken:
                self._decode()
            kept = self._kept
            if not self._left:
                self._kept = None
        if kept is None or media.start_s is None or media.end_s is None:
            return media
        clip = kept.window(media.start_s, media.end_s)
        return replace(media, source=clip, start_s=None, end_s=None)

    def _decode(self) -> None:
        """Decode the stretch."""
        from unifusion.engine.recording import Kept
        from unifusion.processor.opening import decode

        rate_hz, sampling_rate_hz = self._rates
        try:
            span = replace(self._media, start_s=self._begin_s, end_s=self._end_s)
            clip, _ = decode(
                span, rate_hz=None if span.kind == "audio" else rate_hz, audio=sampling_rate_hz is not None,
                sampling_rate_hz=sampling_rate_hz or 16_000, max_seconds=self._end_s - self._begin_s, limits=self._limits,
                isolate=self._isolate,
            )  # fmt: skip
        except MediaError:
            self._broken = True
            return
        self._kept = Kept(self._end_s - self._begin_s + 1.0)
        self._kept.add(replace(clip, start_s=self._begin_s, duration_s=self._end_s - self._begin_s))


def pieces_of(media: Media, spans: list[Span], frame_bytes: int, rates: Rates, limits: Limits, isolate: bool) -> dict[Span, Piece]:
    """The stretch of each window; none where windows are few, or so large that a stretch would hold but one.

    Args:
        media: the file.
        spans: windows in their order.
        frame_bytes: of a decoded frame; 0 without picture.
        rates: see `Piece`.
        limits: of the file.
        isolate: decode in a killable child process.
    """
    per_s = frame_bytes * (rates[0] or 0.0) if media.kind == "video" else 0.0
    longest_s = min(_LONGEST_S, limits.max_span_seconds, _BYTES / per_s if per_s else _LONGEST_S)
    if len(spans) <= _FEW or rates == (None, None) or longest_s < 2 * (spans[0][1] - spans[0][0]):
        return {}
    groups: list[list[Span]] = [[]]
    for span in spans:
        if groups[-1] and span[1] - groups[-1][0][0] > longest_s:
            groups.append([])
        groups[-1].append(span)
    made = [(group, Piece(media, group, rates, limits, isolate)) for group in groups]
    return {span: piece for group, piece in made for span in group}
