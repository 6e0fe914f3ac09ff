"""The compressed picture of one span, kept in memory during the one pass over the file, and where its frames stand in time.

Knowing every presentation time before decoding lets frames be chosen exactly, and lets whole groups of pictures that
hold no chosen frame be skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from unifusion.errors import LimitError
from unifusion.media.remedies import SHORTER

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

__all__ = ["Kept", "PictureIndex"]

_VP8_SHOWN = 0x10


@dataclass(frozen=True)
class Kept:
    """One packet: when its frame is shown (pts, else dts), and whether it is shown at all."""

    packet: Packet[VideoStream]
    pts: int | None
    time_s: float
    seconds: float
    key: bool
    shown: bool


@dataclass
class PictureIndex:
    """Packets in decoding order, from the last key frame at or before the start of the span."""

    name: str
    start_s: float
    zero_s: float
    max_bytes: int
    codec: str
    kept: list[Kept] = field(default_factory=list)
    dropped_s: float = 0.0
    """How much picture before the first key frame cannot be decoded (a clip cut between key frames)."""
    counted: bool = False
    """Stamps are missing (AVI): the k-th decoded frame has the k-th time."""
    hides: bool = False
    """Some frames of the file are not shown (an edit list, invisible frames)."""
    frames_before: int = 0
    """How many frames the file shows before the first of `shown()`; known when it was read from its start."""
    _passed: int = 0
    _bytes: int = 0
    _is_file_start: bool = True
    _last_key: int = 0

    def add(self, packet: Packet[VideoStream], at_file_start: bool) -> None:
        """Take one packet; `at_file_start` tells whether the first packet added is the first of the file."""
        base = packet.time_base
        ticks = packet.pts if packet.pts is not None else packet.dts
        previous = self.kept[-1] if self.kept else None
        self.counted = self.counted or packet.pts is None
        time_s = float(ticks * base) - self.zero_s if ticks is not None else (previous.time_s + previous.seconds if previous else 0.0)
        if previous is None:
            self._is_file_start = at_file_start
        elif packet.is_keyframe and not self.counted and time_s <= self.start_s:
            self._forget()
        shown = not packet.is_discard and not (self.codec in ("vp8", "libvpx") and packet.size and not bytes(packet)[0] & _VP8_SHOWN)
        self.hides = self.hides or not shown
        seconds = float((packet.duration or 0) * base)
        self.kept.append(Kept(packet, packet.pts, time_s, seconds, packet.is_keyframe, shown))
        self._bytes += packet.size
        if self._bytes > self.max_bytes:
            raise LimitError(f"{self.name}: more than {self.max_bytes} bytes of compressed picture in the span;", remedy=SHORTER)

    def _forget(self) -> None:
        """A new group begins at or before the span: drop all before the last group, which an open new one may refer to."""
        if self._last_key:
            self._passed += sum(k.shown for k in self.kept[: self._last_key])
            self._bytes -= sum(k.packet.size for k in self.kept[: self._last_key])
            del self.kept[: self._last_key]
            self._is_file_start = False
        self._last_key = len(self.kept)

    @property
    def open_groups(self) -> bool:
        """Whether a group of pictures after the first begins with frames that refer to the group before."""
        return any(self._is_open(i) for i in range(self.first + 1, len(self.kept)) if self.kept[i].key)

    def _is_open(self, position: int) -> bool:
        """Whether the key frame there is followed by frames shown before it."""
        after = self.kept[position + 1 : position + 2]
        return bool(after) and after[0].time_s < self.kept[position].time_s

    @property
    def first(self) -> int:
        """Position of the first packet from which decoding can begin: a key frame, where there is one."""
        return next((i for i, k in enumerate(self.kept) if k.key), 0)

    def shown(self) -> list[int]:
        """Positions of packets whose frames are shown and can be decoded, in order of presentation."""
        first = self.first
        if not self.kept:
            return []
        floor = self.kept[first].time_s
        usable = [i for i in range(first, len(self.kept)) if self.kept[i].shown and (self.counted or self.kept[i].time_s >= floor)]
        lost = [k.time_s for i, k in enumerate(self.kept) if k.shown and (i < first or k.time_s < floor)]
        self.frames_before = self._passed + len(lost)
        if self._is_file_start:
            self.dropped_s = floor - min(lost) if lost else 0.0
        return sorted(usable, key=lambda i: self.kept[i].time_s)

    def times(self, order: list[int]) -> tuple[np.ndarray, float]:
        """Return presentation times (T,) of `order`, and when the last frame leaves the screen."""
        times_T = np.asarray([self.kept[i].time_s for i in order], np.float64)
        last = self.kept[order[-1]].seconds
        if last <= 0:
            last = float(np.median(np.diff(times_T))) if len(times_T) > 1 else 0.04
        return times_T, float(times_T[-1]) + last

    def start_for(self, position: int) -> int:
        """Where decoding must begin to get the frame of `position`: the last key frame before it that is not shown later.

        A key frame shown after the wanted one (open group of pictures) is no start: the wanted frame refers to the group before.
        An open key frame is entered one group early: what looks like a leading frame and is left out may be a frame with a wrong
        stamp that others refer to; by the next key frame that has healed.
        """
        first, wanted = self.first, self.kept[position].time_s
        if self.counted:
            return first
        keys = [i for i in range(first, position + 1) if self.kept[i].key and self.kept[i].time_s <= wanted] or [first]
        return keys[-2] if len(keys) > 1 and self._is_open(keys[-1]) else keys[-1]
