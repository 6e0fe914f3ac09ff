"""What back ends share that hold their vectors in this process: the table, filters, saving and loading, and who may touch it when."""

from __future__ import annotations

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.backends._columns import Columns, Stack
from unifusion.retrieval.backends._conditions import read_where
from unifusion.retrieval.backends._files import REMEDY, read_array, read_files, read_rows, whole, write_array, write_files, write_rows
from unifusion.retrieval.backends._stores import checked, checked_queries
from unifusion.retrieval.backends.backend import Backend, Matches, Row, Where

__all__ = ["LocalBackend"]

logger = logging.getLogger(__name__)
_CHECKED = 1 << 16
"""Vectors checked at once."""
_MOST = 100_000_000
"""Results of a search: 1.2 GB."""
_LONGEST = 1e6
"""Of a query: float32 products of longer ones lose the small differences."""


class Guard:
    """Many readers at a time, or one writer; a waiting writer goes first."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._readers = 0
        self._waiting = 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Beside other readers."""
        with self._turn:
            self._turn.wait_for(lambda: not self._waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._turn:
                self._readers -= 1
                self._turn.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Alone."""
        with self._turn:
            self._waiting += 1
            try:
                self._turn.wait_for(lambda: not self._readers)
                yield
            finally:
                self._waiting -= 1
                self._turn.notify_all()


class LocalBackend(Backend):
    """Vectors stand in slots in the order they were added; a deleted one keeps its slot, dead, until a quarter of all slots are dead.

    Any number of threads may search at once; add, delete, save and building wait for them and keep them out.

    Args:
        width: D.
        config: this back end's own choices.
    """

    @dataclass(kw_only=True)
    class Config(Backend.Config):
        """Choices of every local back end."""

        mapped: bool = False
        """Leave float32 vectors of a loaded folder in their file: many processes share them, and memory is lent by the system. The file
        must not be cut while it is open (the library writes a new folder instead)."""

    def __init__(self, width: int, config: Any) -> None:
        if width < 1:
            raise ConfigError(f"vectors of width {width};", remedy="give one or more.")
        super().__init__(width, config)
        self._guard = Guard()
        self._clear(np.zeros(0, np.int64), np.zeros((0, width), np.float32))

    def __len__(self) -> int:
        return len(self._slot_of)

    def add(self, ids_N: np.ndarray, vectors_ND: np.ndarray, rows: Sequence[Row]) -> None:
        """Add vectors; one whose id is there already takes its place."""
        ids_N, vectors_ND, plain = checked(self.width, ids_N, vectors_ND, rows)
        with self._guard.writing():
            self._vectors.push(vectors_ND)  # first, since it may find no memory: nothing else has changed then
            self._columns.push(plain)
            self._alive.push(np.ones(len(ids_N), bool))
            self._kill(ids_N)
            self._slot_of.update(zip(ids_N.tolist(), range(self._ids.count, self._ids.count + len(ids_N)), strict=True))
            self._ids.push(ids_N)
            self._tidy()

    def delete(self, ids_N: np.ndarray) -> int:
        """Remove vectors and return how many were there."""
        with self._guard.writing():
            count = self._kill(np.asarray(ids_N))
            self._tidy()
        return count

    def search(self, queries_BD: np.ndarray, k: int, where: Where | None = None) -> Matches:
        """Find the k best rows for each query among those that match the filter."""
        queries_BD = checked_queries(self.width, queries_BD, k)
        if len(queries_BD) and float(np.abs(queries_BD).max()) > _LONGEST:
            raise ConfigError("a query has numbers above 1e6;", remedy="divide queries by their length.")
        if len(queries_BD) * k > _MOST:
            raise ConfigError(f"{k} results for each of {len(queries_BD)} queries;", remedy=f"ask for {_MOST:,} at once at most.")
        try:
            tree = read_where(where) if where else None
        except RecursionError as error:
            raise ConfigError("a filter has too many groups in each other;", remedy="write it flatter.") from error
        with self._ready():
            chosen_N = None if self._dead == 0 else self._alive.array
            if tree is not None:
                chosen_N = self._columns.mask(tree) & self._alive.array
            count = self._ids.count if chosen_N is None else int(np.count_nonzero(chosen_N))
            scores_BK = np.full((len(queries_BD), k), -np.inf, np.float32)
            ids_BK = np.full((len(queries_BD), k), -1, np.int64)
            if count and len(queries_BD):
                scores, slots = self._best(queries_BD, min(k, count), chosen_N, count)
                scores_BK[:, : scores.shape[1]] = scores
                ids_BK[:, : slots.shape[1]] = np.where(slots >= 0, self._ids.array[slots], -1)
        return Matches(scores_BK=scores_BK, ids_BK=ids_BK)

    def save(self, folder: Path) -> None:
        """Write vectors, ids, metadata, and what else makes opening quick; what was deleted is not written."""
        with self._guard.writing():
            if self._dead:
                self._compact()
            self._refresh()
            write_array(folder / "ids.npy", self._ids.array)
            write_array(folder / "vectors.npy", self._vectors.array)
            write_rows(folder / "rows.jsonl", self._columns.rows())
            for name, array in self._pieces().items():
                write_array(folder / f"index_{name}.npy", array)
            write_files(folder, {"width": self.width, "count": len(self)})

    @classmethod
    def load(cls, folder: Path, width: int, config: Any) -> Self:
        """Read what `save` wrote. Every file is held against its sha256; derived arrays that are damaged are made again, with a warning."""
        told = read_files(folder, width)
        count, files = told["count"], told["files"]
        for name in ("ids.npy", "vectors.npy", "rows.jsonl"):
            whole(folder / name, files)
        ids_N = read_array(folder / "ids.npy", np.int64, (count,))
        vectors_ND = read_array(folder / "vectors.npy", np.float32, (count, width), mapped=config.mapped)
        rows = read_rows(folder / "rows.jsonl", count)
        backend = cls(width, config)
        backend._clear(ids_N, vectors_ND)
        try:
            for begin in range(0, count, _CHECKED):
                some = slice(begin, begin + _CHECKED)
                backend._columns.push(checked(width, ids_N[some], vectors_ND[some], rows[some])[2])
        except ConfigError as error:
            raise CheckpointError(f"{folder} holds what cannot be added: {error.found}", remedy=REMEDY) from error
        if len(backend) != count:
            raise CheckpointError(f"{folder} gives one id to several vectors;", remedy=REMEDY)
        if any(name.startswith("index_") for name in files):
            backend._take(folder, files)
        return backend

    def _take(self, folder: Path, files: Mapping[str, tuple[int, str]]) -> None:
        """Take over the derived arrays of a folder, or leave them to be made again."""

        def piece(name: str, kind: Any, shape: tuple[int | None, ...]) -> np.ndarray:
            """One of them, checked."""
            whole(folder / f"index_{name}.npy", files)
            return read_array(folder / f"index_{name}.npy", kind, shape)

        try:
            self._adopt(piece)
        except CheckpointError as error:
            logger.warning("%s the index is built again from the vectors", error.found)
            self._forget()

    def _clear(self, ids_N: np.ndarray, vectors_ND: np.ndarray) -> None:
        """Hold these vectors, all alive, and no metadata."""
        self._ids, self._vectors, self._alive = Stack(ids_N), Stack(vectors_ND), Stack(np.ones(len(ids_N), bool))
        self._columns = Columns()
        self._slot_of = dict(zip(ids_N.tolist(), range(len(ids_N)), strict=True))
        self._dead = 0
        self._forget()

    def _kill(self, ids_N: np.ndarray) -> int:
        """Mark the slots of ids as dead, and return how many were alive."""
        slots = [slot for slot in (self._slot_of.pop(i, None) for i in ids_N.tolist()) if slot is not None]
        self._alive.array[slots] = False
        self._dead += len(slots)
        return len(slots)

    def _tidy(self) -> None:
        """Give the slots of the dead back once they are many."""
        if 4 * self._dead > self._ids.count:
            self._compact()

    def _compact(self) -> None:
        """Give the slots of the dead back; what was derived is made anew."""
        slots = np.flatnonzero(self._alive.array)
        columns = self._columns.kept(slots)
        self._clear(self._ids.array[slots], self._vectors.array[slots])
        self._columns = columns

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Read beside others, with everything built that a search needs."""
        while True:
            with self._guard.reading():
                if self._fresh():
                    yield
                    return
            with self._guard.writing():
                self._refresh()

    def _fresh(self) -> bool:
        """Whether what is derived covers all vectors."""
        return True

    def _refresh(self) -> None:
        """Bring what is derived up to date; called alone."""
        return

    def _forget(self) -> None:
        """Drop what is derived."""
        return

    def _pieces(self) -> dict[str, np.ndarray]:
        """What is derived, as arrays."""
        return {}

    def _adopt(self, piece: Callable[[str, Any, tuple[int | None, ...]], np.ndarray]) -> None:
        """Take over arrays that `_pieces` gave, read by name, type and shape."""
        del piece

    @abstractmethod
    def _best(self, queries_BD: np.ndarray, k: int, chosen_N: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the k best of the `count` chosen slots (None: all) for each query.

        Returns:
            Scores (B, k) and slots (B, k), the best first.
        """
