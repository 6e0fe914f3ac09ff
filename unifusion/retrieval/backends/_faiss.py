"""What the back ends over FAISS share: a coarse search proposes rows, their float32 vectors decide.

Taken care of (faiss-cpu 1.15.1):
- Adding while another thread searches corrupts memory (faiss issue 861): `LocalBackend` keeps writers and readers apart.
- The number of OpenMP threads is set for the calling thread alone and for one call, never above the queries at hand: a team for one query
  costs more than it gives, and spinning threads slow down whoever else computes.
- `faiss.cvar.distance_compute_blas_threshold` is global to the process and is left alone. At its default (128,000 numbers) FAISS compares
  up to 249 queries of width 512 one by one; `faiss_flat` computes such batches itself.
- Nothing is read by FAISS's own deserialiser; see `_files.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.backends._local import LocalBackend
from unifusion.retrieval.backends._search import SLACK, rescored, search_all

__all__ = ["FaissBackend", "Turn", "import_faiss", "threads"]

Piece = Callable[[str, Any, tuple[int | None, ...]], np.ndarray]
_SEED = 20_260
_SLICE = 1 << 16
"""Vectors encoded at once: what they are turned into for that is not held for all of them."""
_OUTGROWN = 4
"""An index is trained again when there are so many times more vectors than it was trained for."""


def import_faiss() -> Any:
    """Return the module.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "this back end needs faiss;", remedy="pip install 'unifusion-x[retrieval]', or choose the back end exact."
        ) from error
    return faiss


@contextmanager
def threads(faiss: Any, most: int) -> Iterator[None]:
    """Let FAISS use up to `most` threads for the calling thread's work, and no more than it may anyway."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(max(1, min(before, most)))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class Turn:
    """A fixed random rotation into a width that codes can be cut from; it spreads over all numbers what a few may hold.

    Args:
        matrix_DE: (D, E) float32, rows of length one and orthogonal; E is D or a little more.
    """

    def __init__(self, matrix_DE: np.ndarray) -> None:
        self.matrix_DE = matrix_DE

    @classmethod
    def made(cls, width: int, multiple: int) -> Turn:
        """A rotation of D = `width` into the next multiple, the same each time."""
        wide = -(-width // multiple) * multiple
        random_EE = np.random.default_rng(_SEED).standard_normal((wide, wide))
        return cls(np.linalg.qr(random_EE)[0][:width].astype(np.float32))

    def __call__(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Turn vectors: (N, D) to (N, E)."""
        turned_NE: np.ndarray = vectors_ND @ self.matrix_DE
        return turned_NE


class FaissBackend(LocalBackend):
    """A coarse index proposes a shortlist, exact scores order it.

    Scores are exact, and where ids are equal in score they ascend; what may be missed is a row that the shortlist lacks. A filter goes
    into FAISS as a selector. Few vectors, few rows that match a filter, and queries for which fewer than k were proposed are compared one
    by one, so that k are found wherever k match.

    Raises:
        ConfigError: faiss is not installed.
    """

    @dataclass(kw_only=True)
    class Config(LocalBackend.Config):
        """Choices of a coarse search."""

        shortlist: int = 256
        """Rows whose exact scores are computed for a query, at least."""
        per_hit: int = 20
        """The same for each of the k that are wanted; the larger of both counts."""
        least: int = 1000
        """Fewer vectors than that are compared one by one."""
        sample: int = 16_384
        """Vectors to train on."""

    exact = False
    retrains: ClassVar[bool] = True
    """Whether more vectors make another training worth while."""

    def __init__(self, width: int, config: Any) -> None:
        self._faiss = import_faiss()
        if min(config.shortlist, config.per_hit, config.sample) < 1 or config.least < 16:
            raise ConfigError("shortlist, per_hit and sample are 1 or more, least is 16 or more;", remedy="raise them.")
        super().__init__(width, config)

    def _forget(self) -> None:
        self._index: Any = None
        self._indexed = self._trained = 0

    def _fresh(self) -> bool:
        count = self._ids.count
        return count < self.config.least or (self._index is not None and self._indexed == count and not self._outgrown())

    def _outgrown(self) -> bool:
        return self.retrains and self._ids.count >= _OUTGROWN * self._trained

    def _refresh(self) -> None:
        if self._fresh():
            return
        vectors_ND = self._vectors.array
        try:
            if self._index is None or self._outgrown():
                self._forget()
                picked = np.random.default_rng(_SEED).choice(len(vectors_ND), min(self.config.sample, len(vectors_ND)), replace=False)
                self._index, self._trained = self._train(np.ascontiguousarray(vectors_ND[np.sort(picked)])), len(vectors_ND)
            for begin in range(self._indexed, len(vectors_ND), _SLICE):
                self._put(np.ascontiguousarray(vectors_ND[begin : begin + _SLICE]))
            self._indexed = len(vectors_ND)
        except BaseException:
            self._forget()  # half an index would answer wrongly
            raise

    def _best(self, queries_BD: np.ndarray, k: int, chosen_N: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
        vectors_ND, ids_N = self._vectors.array, self._ids.array
        wanted = max(self.config.shortlist, self.config.per_hit * k)
        if self._index is None or count <= max(2 * wanted, len(ids_N) // 50):
            return search_all(queries_BD, vectors_ND, k, ids_N, None if chosen_N is None else np.flatnonzero(chosen_N))
        with threads(self._faiss, len(queries_BD)):
            proposed_BM = self._near(queries_BD, k, self._propose(queries_BD, wanted, chosen_N, count))
        scores_BK, slots_BK = rescored(queries_BD, vectors_ND, k, ids_N, proposed_BM)
        short_B = np.flatnonzero(slots_BK[:, -1] < 0)
        if len(short_B):
            slots_M = None if chosen_N is None else np.flatnonzero(chosen_N)
            scores_BK[short_B], slots_BK[short_B] = search_all(queries_BD[short_B], vectors_ND, k, ids_N, slots_M)
        return scores_BK, slots_BK

    def _near(self, queries_BD: np.ndarray, k: int, proposed_BM: np.ndarray) -> np.ndarray:
        """Of what was proposed, what may be among the k best; the rest becomes -1.

        FAISS computes the products where the rows lie, in half the time that gathering them takes.
        """
        vectors_ND, scores_BM = self._vectors.array, np.empty(proposed_BM.shape, np.float32)
        pointers = [self._faiss.swig_ptr(x) for x in (scores_BM, queries_BD, vectors_ND, proposed_BM)]
        self._faiss.fvec_inner_products_by_idx(*pointers, self.width, *proposed_BM.shape)  # -inf for -1
        last = proposed_BM.shape[1] - k
        least_B = np.partition(scores_BM, last, axis=1)[:, last] - SLACK * np.maximum(1.0, np.linalg.norm(queries_BD, axis=1))
        return np.where(scores_BM >= least_B[:, None], proposed_BM, -1)

    def _propose(self, queries_BD: np.ndarray, wanted: int, chosen_N: np.ndarray | None, count: int) -> np.ndarray:
        """Slots (B, M) int64 that may be the best, M at least k; -1 where fewer are found."""
        options = self._options(len(self._ids.array) / count)
        if chosen_N is not None:
            options["sel"] = self._faiss.IDSelectorBitmap(np.packbits(chosen_N, bitorder="little"))
        name = options.pop("class", "SearchParameters")
        found: np.ndarray = self._index.search(self._coded(queries_BD), wanted, params=getattr(self._faiss, name)(**options))[1]
        return found

    def _options(self, rarity: float) -> dict[str, Any]:
        """What a search is told besides its filter, where one in `rarity` rows matches it; `class` names the kind of parameters."""
        del rarity
        return {}

    def _coded(self, vectors_ND: np.ndarray) -> np.ndarray:
        """Vectors as the index takes them."""
        return vectors_ND

    def _put(self, vectors_ND: np.ndarray) -> None:
        """Add vectors to the index."""
        self._index.add(self._coded(vectors_ND))

    @abstractmethod
    def _train(self, sample_ND: np.ndarray) -> Any:
        """An empty index that was trained on a sample."""

    def _pieces(self) -> dict[str, np.ndarray]:
        if self._index is None:
            return {}
        # Codes are laid out as this version of FAISS does it.
        maker = np.frombuffer(f"{type(self).__name__} {self._faiss.__version__}".encode(), np.uint8)
        return {"maker": maker, "trained": np.array([self._trained]), **self._parts()}

    def _adopt(self, piece: Piece) -> None:
        maker = piece("maker", np.uint8, (None,)).tobytes().decode("utf-8", "replace")
        if maker != f"{type(self).__name__} {self._faiss.__version__}":
            raise CheckpointError(f"the index was made by {maker!r};")
        trained = int(piece("trained", np.int64, (1,))[0])
        if not 0 < trained <= 2 * len(self):
            raise CheckpointError(f"the index was trained for {trained} vectors;")
        self._index = self._assembled(piece)
        self._indexed, self._trained = len(self), trained

    @abstractmethod
    def _parts(self) -> dict[str, np.ndarray]:
        """What the index is made of."""

    @abstractmethod
    def _assembled(self, piece: Piece) -> Any:
        """The index of all vectors from what `_parts` gave.

        Raises:
            CheckpointError: parts that do not fit each other or these choices.
        """
