"""Whether a Matroska file's elements follow each other without a gap up to a packet.

FFmpeg's demuxer looks for the next cluster after bytes that make no sense, without a word: the packets in between are lost, and the
pictures that build on them come out wrong. Element headers as in RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

from __future__ import annotations

from typing import BinaryIO

__all__ = ["Elements"]

_SEGMENT, _CLUSTER, _BLOCK_GROUP = 0x18538067, 0x1F43B675, 0xA0
_BLOCKS = (0xA3, 0xA1)
_LONGEST_HEADER = 12


class Elements:
    """Walks from element to element of an open file, forwards only; the file's position is left where it was."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._at, self._block = handle, 0, 0

    def lead_to(self, position: int) -> bool:
        """Whether the chain of elements leads to a block that holds the byte at `position`; True for one that lies behind."""
        if position < self._block:
            return True
        before = self._handle.tell()
        try:
            while self._at <= position:
                found = self._header()
                if found is None:
                    return False
                kind, begin, end = found
                inside = end is None or position < end
                if kind in _BLOCKS and inside:
                    self._block = self._at
                    return True
                if kind in (_SEGMENT, _CLUSTER, _BLOCK_GROUP) and inside:
                    self._at = begin
                elif end is None:
                    return False  # only a segment or a cluster may leave its length open
                else:
                    self._at = end
            return False
        finally:
            self._handle.seek(before)

    def _header(self) -> tuple[int, int, int | None] | None:
        """Kind, begin and end of the element at hand; an open end is None. None where no element can begin."""
        self._handle.seek(self._at)
        raw = self._handle.read(_LONGEST_HEADER)
        if not raw or raw[0] < 0x10:
            return None
        id_length = 9 - raw[0].bit_length()
        if len(raw) <= id_length or raw[id_length] == 0:
            return None
        size_length = 9 - raw[id_length].bit_length()
        header = id_length + size_length
        if len(raw) < header:
            return None
        kind = int.from_bytes(raw[:id_length], "big")
        size = int.from_bytes(raw[id_length:header], "big") & ((1 << 7 * size_length) - 1)
        begin = self._at + header
        return kind, begin, None if size == (1 << 7 * size_length) - 1 else begin + size
