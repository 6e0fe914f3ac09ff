"""Whether the packets of an MPEG transport stream follow each other: the sync byte, and each stream's continuity counter.

FFmpeg's demuxer notices a jump of the counter, but the piece of a picture that came before it is given out as whole. Header as in
ISO/IEC 13818-1, 2.4.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

__all__ = ["Continuity"]

_SIZE = 188
_SYNC = 0x47
_BLOCK = 4096 * _SIZE


class Continuity:
    """Reads the headers of an open file's packets, forwards only; the file's position is left where it was.

    Args:
        handle: the file.
        pids: streams whose packets are counted.
    """

    def __init__(self, handle: BinaryIO, pids: Iterable[int]) -> None:
        self._handle = handle
        self._last: dict[int, int | None] = dict.fromkeys(pids)
        before = handle.tell()
        handle.seek(0)
        head = handle.read(8 * _SIZE)
        handle.seek(before)
        self._at = next((i for i in range(_SIZE) if len(head) > i + 2 * _SIZE and all(b == _SYNC for b in head[i::_SIZE])), None)

    def lead_to(self, position: int) -> bool:
        """Whether nothing is missing before `position`; True for packets of another size (192 bytes with time codes), unread."""
        before = self._handle.tell()
        try:
            while self._at is not None and self._at + _SIZE <= position:
                self._handle.seek(self._at)
                raw = self._handle.read(min(_BLOCK, (position - self._at) // _SIZE * _SIZE))
                packets_NB = np.frombuffer(raw, np.uint8, len(raw) // _SIZE * _SIZE).reshape(-1, _SIZE)
                if not len(packets_NB):
                    return True
                if not self._follow(packets_NB):
                    return False
                self._at += packets_NB.size
            return True
        finally:
            self._handle.seek(before)

    def _follow(self, packets_NB: np.ndarray) -> bool:
        """Whether packets (N, 188) are whole and go on from those before."""
        if (packets_NB[:, 0] != _SYNC).any():
            return False
        flags_N = packets_NB[:, 3]
        pid_N = (packets_NB[:, 1].astype(np.int64) & 0x1F) << 8 | packets_NB[:, 2]
        announced_N = (flags_N & 0x20 > 0) & (packets_NB[:, 4] > 0) & (packets_NB[:, 5] & 0x80 > 0)
        for pid, last in self._last.items():
            mine = np.flatnonzero((pid_N == pid) & (flags_N & 0x10 > 0))  # only packets with a payload count
            if not len(mine):
                continue
            count_N = (flags_N[mine] & 15).astype(np.int64)
            step_N = np.diff(count_N, prepend=count_N[0] - 1 if last is None else last) % 16
            if ((step_N > 1) & ~announced_N[mine]).any():  # the same number again is a packet sent twice
                return False
            self._last[pid] = int(count_N[-1])
        return True
