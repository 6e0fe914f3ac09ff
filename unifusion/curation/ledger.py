"""Which names stand twice, and which groups are in two splits, among millions of rows: 17 bytes a row."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np

__all__ = ["Ledger", "mark_of"]


def mark_of(name: str) -> int:
    """64 bits that stand for a name; two names of 10 million share one with a chance of 3 in a million."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class Ledger:
    """Marks of names with the number of their row and a tag."""

    def __init__(self) -> None:
        self._marks, self._rows, self._tags = array("Q"), array("Q"), array("B")

    def add(self, mark: int, row: int, tag: int = 0) -> None:
        """Note a name."""
        self._marks.append(mark)
        self._rows.append(row)
        self._tags.append(tag)

    def extend(self, notes: Sequence[tuple[int, int, int]]) -> None:
        """Note several."""
        for mark, row, tag in notes:
            self.add(mark, row, tag)

    def __len__(self) -> int:
        """Names."""
        return len(self._marks)

    def distinct(self) -> int:
        """How many different names there are."""
        return len(np.unique(np.frombuffer(self._marks, np.uint64))) if self._marks else 0

    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Marks, rows and tags in the order of marks, then of rows."""
        marks_N = np.frombuffer(self._marks, np.uint64) if self._marks else np.zeros(0, np.uint64)
        rows_N = np.frombuffer(self._rows, np.uint64) if self._rows else np.zeros(0, np.uint64)
        tags_N = np.frombuffer(self._tags, np.uint8) if self._tags else np.zeros(0, np.uint8)
        order_N = np.lexsort((rows_N, marks_N))
        return marks_N[order_N], rows_N[order_N], tags_N[order_N]

    def twice(self) -> list[tuple[int, int]]:
        """(row, the first row of the same name) of each name that stood before, in the order of rows."""
        marks_N, rows_N, _ = self._sorted()
        if not len(marks_N):
            return []
        starts_N = np.flatnonzero(np.r_[True, marks_N[1:] != marks_N[:-1]])
        firsts_N = np.repeat(rows_N[starts_N], np.diff(np.r_[starts_N, len(marks_N)]))
        again_N = rows_N != firsts_N
        return sorted((int(row), int(first)) for row, first in zip(rows_N[again_N], firsts_N[again_N], strict=True))

    def across(self) -> list[dict[int, int]]:
        """Tag -> first row of it, of each name that has several tags, in the order of rows."""
        marks_N, rows_N, tags_N = self._sorted()
        if not len(marks_N):
            return []
        starts_N = np.flatnonzero(np.r_[True, marks_N[1:] != marks_N[:-1]])
        low_N, high_N = np.minimum.reduceat(tags_N, starts_N), np.maximum.reduceat(tags_N, starts_N)
        ends_N = np.r_[starts_N[1:], len(marks_N)]
        found = []
        for at in np.flatnonzero(low_N != high_N):
            firsts: dict[int, int] = {}
            for tag, row in zip(tags_N[starts_N[at] : ends_N[at]], rows_N[starts_N[at] : ends_N[at]], strict=True):
                firsts.setdefault(int(tag), int(row))
            found.append(firsts)
        return sorted(found, key=lambda firsts: min(firsts.values()))
