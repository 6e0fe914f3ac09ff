"""Metadata of N vectors in columns, so that a filter over a million rows is a few passes over arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from unifusion.retrieval.backends._conditions import Condition, Group, Scalar, Tree
from unifusion.retrieval.backends.backend import Row

__all__ = ["Columns", "Stack"]

_MISSING, _TEXT, _BOOLEAN, _INTEGER, _REAL = range(5)
_NUMBERS = (_INTEGER, _REAL)
_PLAIN: dict[int, Callable[[float], Scalar]] = {_BOOLEAN: bool, _INTEGER: int, _REAL: float}
_ORDERS = {"$gt": np.greater, "$gte": np.greater_equal, "$lt": np.less, "$lte": np.less_equal}


class Stack:
    """An array that grows at its end, with room to spare.

    Args:
        start: what it holds at first; a mapped file stays mapped until something is pushed.
    """

    def __init__(self, start: np.ndarray) -> None:
        self._held, self.count = start, len(start)

    @property
    def array(self) -> np.ndarray:
        """What is held, without a copy."""
        return self._held[: self.count]

    def push(self, more: np.ndarray) -> None:
        """Put rows at the end."""
        needed = self.count + len(more)
        if needed > len(self._held) or not self._held.flags.writeable:
            # A quarter more than before: vectors are the bulk of memory, and doubling them would be felt.
            room = np.empty((max(needed, self.count + self.count // 4), *self._held.shape[1:]), self._held.dtype)
            room[: self.count] = self.array
            self._held = room
        self._held[self.count : needed] = more
        self.count = needed


class Columns:
    """Fields of N rows: what kind each value is, and a number for it (of a text its place among the field's texts)."""

    def __init__(self) -> None:
        self.count = 0
        self._kinds: dict[str, Stack] = {}
        self._numbers: dict[str, Stack] = {}
        self._texts: dict[str, dict[str, int]] = {}

    def push(self, rows: Sequence[Row]) -> None:
        """Put rows at the end; they hold texts, booleans and finite numbers alone."""
        fields = {field for row in rows for field in row}
        for field in fields - self._kinds.keys():
            self._kinds[field] = Stack(np.zeros(self.count, np.uint8))
            self._numbers[field] = Stack(np.zeros(self.count))
            self._texts[field] = {}
        for field in self._kinds:
            texts = self._texts[field]
            pairs = [_coded(row.get(field), texts) for row in rows]
            self._kinds[field].push(np.array([kind for kind, _ in pairs], np.uint8))
            self._numbers[field].push(np.array([number for _, number in pairs], np.float64))
        self.count += len(rows)

    def mask(self, tree: Tree) -> np.ndarray:
        """bool (N,): which rows a filter means."""
        if isinstance(tree, Group):
            found = np.full(self.count, tree.every)
            for part in tree.parts:
                found = found & self.mask(part) if tree.every else found | self.mask(part)
            return found
        if tree.operator in _ORDERS:
            return self._ordered(tree)
        equal_N = self._equal(tree.field, tree.value if tree.operator in ("$in", "$nin") else (tree.value,))
        return ~equal_N if tree.operator in ("$ne", "$nin") else equal_N

    def rows(self) -> Iterator[dict[str, Scalar]]:
        """The rows as they were pushed."""
        texts = {field: list(known) for field, known in self._texts.items()}
        columns = [(field, self._kinds[field].array.tolist(), self._numbers[field].array.tolist()) for field in self._kinds]
        for row in range(self.count):
            yield {
                field: texts[field][int(numbers[row])] if kinds[row] == _TEXT else _PLAIN[kinds[row]](numbers[row])
                for field, kinds, numbers in columns
                if kinds[row] != _MISSING
            }

    def kept(self, slots: np.ndarray) -> Columns:
        """Some of the rows, in the order of `slots`; texts that nobody has any more are gone."""
        columns = Columns()
        columns.count = len(slots)
        for field in self._kinds:
            kinds, numbers = self._kinds[field].array[slots], self._numbers[field].array[slots].copy()
            if not kinds.any():
                continue
            is_text = kinds == _TEXT
            left, places = np.unique(numbers[is_text], return_inverse=True)
            names = list(self._texts[field])
            numbers[is_text] = places
            columns._texts[field] = {names[int(old)]: new for new, old in enumerate(left)}
            columns._kinds[field], columns._numbers[field] = Stack(kinds), Stack(numbers)
        return columns

    def _ordered(self, condition: Condition) -> np.ndarray:
        """Which rows have a number above or below one."""
        if condition.field not in self._kinds:
            return np.zeros(self.count, bool)
        found: np.ndarray = _ORDERS[condition.operator](self._numbers[condition.field].array, condition.value)
        return found & (self._kinds[condition.field].array >= _INTEGER)

    def _equal(self, field: str, values: Sequence[Any]) -> np.ndarray:
        """Which rows have one of `values`."""
        if field not in self._kinds:
            return np.zeros(self.count, bool)
        kinds, numbers = self._kinds[field].array, self._numbers[field].array
        wanted: dict[int, list[float]] = {}
        for value in values:
            if isinstance(value, str):
                if value in self._texts[field]:
                    wanted.setdefault(_TEXT, []).append(self._texts[field][value])
                continue
            for kind in (_BOOLEAN,) if isinstance(value, bool) else _NUMBERS:
                wanted.setdefault(kind, []).append(value)
        found = np.zeros(self.count, bool)
        for kind, some in wanted.items():
            of_kind = numbers == some[0] if len(some) == 1 else np.isin(numbers, some)
            found |= of_kind & (kinds == kind)
        return found


def _coded(value: Any, texts: dict[str, int]) -> tuple[int, float]:
    """Kind and number of a value; a new text gets the next place."""
    if value is None:
        return _MISSING, 0.0
    if isinstance(value, str):
        return _TEXT, texts.setdefault(value, len(texts))
    if isinstance(value, bool):
        return _BOOLEAN, float(value)
    return (_INTEGER if isinstance(value, int) else _REAL), float(value)
