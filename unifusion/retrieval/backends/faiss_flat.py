"""Every vector compared by FAISS: exact, and fast for any batch without touching FAISS's process-wide threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from unifusion.retrieval.backends._faiss import import_faiss, threads
from unifusion.retrieval.backends._local import LocalBackend
from unifusion.retrieval.backends._search import SLACK, rescored, search_all

__all__ = ["FaissFlat"]

_MORE = 8
"""Rows looked at beyond k, to see where equal scores end."""


class FaissFlat(LocalBackend):
    """FAISS's inner products over the table itself, without a second copy of it as an IndexFlatIP would hold.

    Batches that FAISS would compare query by query although a matrix product is many times faster (5 to 249 queries of width 512) are
    computed as in `exact`. Ties are cut by id as there.

    Raises:
        ConfigError: faiss is not installed.
    """

    def __init__(self, width: int, config: Any) -> None:
        self._faiss = import_faiss()
        super().__init__(width, config)

    def _best(self, queries_BD: np.ndarray, k: int, chosen_N: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Compare with all that are chosen."""
        vectors_ND, ids_N = self._vectors.array, self._ids.array
        batch = len(queries_BD)
        by_blas = batch * self.width >= self._faiss.cvar.distance_compute_blas_threshold
        few = chosen_N is not None and 2 * count < len(ids_N)
        if few or (4 < batch and not (by_blas and chosen_N is None)):
            return search_all(queries_BD, vectors_ND, k, ids_N, None if chosen_N is None else np.flatnonzero(chosen_N))
        wanted = min(count, k + _MORE)
        coarse_BM, slots_BM = np.empty((batch, wanted), np.float32), np.empty((batch, wanted), np.int64)
        selector = () if chosen_N is None else (self._faiss.IDSelectorBitmap(np.packbits(chosen_N, bitorder="little")),)
        given, taken = ([self._faiss.swig_ptr(x) for x in pair] for pair in ((queries_BD, vectors_ND), (coarse_BM, slots_BM)))
        with threads(self._faiss, batch):
            self._faiss.knn_inner_product(*given, self.width, batch, len(ids_N), wanted, *taken, *selector)
        scores_BK, best_BK = rescored(queries_BD, vectors_ND, k, ids_N, slots_BM)
        # Where the last row looked at may equal the k-th, rows that were not looked at may as well.
        slack_B = SLACK * np.maximum(1.0, np.linalg.norm(queries_BD, axis=1))
        tied_B = np.flatnonzero((coarse_BM[:, -1] >= coarse_BM[:, k - 1] - slack_B) & (wanted < count))
        if len(tied_B):
            slots_M = None if chosen_N is None else np.flatnonzero(chosen_N)
            scores_BK[tied_B], best_BK[tied_B] = search_all(queries_BD[tied_B], vectors_ND, k, ids_N, slots_M)
        return scores_BK, best_BK
