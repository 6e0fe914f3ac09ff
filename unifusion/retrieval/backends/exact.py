"""Every vector compared, by NumPy alone: exact, needs no other library, and may leave the vectors in their file."""

from __future__ import annotations

import numpy as np

from unifusion.retrieval.backends._local import LocalBackend
from unifusion.retrieval.backends._search import search_all

__all__ = ["Exact"]


class Exact(LocalBackend):
    """Brute force. Memory: 4 D bytes a vector and its metadata; a search reads all of it once for up to 1,024 queries.

    Equal scores are in order of their ids, and none is lost at the border: where ten thousand vectors are equal, the k least ids win.
    """

    def _best(self, queries_BD: np.ndarray, k: int, chosen_N: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Compare with all that are chosen."""
        del count
        slots_M = None if chosen_N is None else np.flatnonzero(chosen_N)
        return search_all(queries_BD, self._vectors.array, k, self._ids.array, slots_M)
