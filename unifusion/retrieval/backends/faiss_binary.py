"""One bit a number, compared by Hamming distance, then exact scores: the least memory, and for vectors that lie in clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.retrieval.backends._faiss import FaissBackend, Piece, Turn

__all__ = ["FaissBinary"]


class FaissBinary(FaissBackend):
    """Signs of centred and rotated vectors in FAISS's flat binary index. Memory beside the float32 vectors: D / 8 bytes each.

    A bit of the query stands against a bit of the row, so it takes long shortlists where neighbours are far apart: docs/benchmarks.md
    has the recall for both kinds of vectors. `faiss_pq` costs four times its memory and misses far less.
    """

    @dataclass(kw_only=True)
    class Config(FaissBackend.Config):
        """Choices of a coarse search; bits are far from the truth, so that a long list is needed."""

        shortlist: int = 1000
        per_hit: int = 100

    def _train(self, sample_ND: np.ndarray) -> Any:
        self._mean_D = sample_ND.mean(0)
        self._turn = Turn.made(self.width, 8)
        return self._faiss.IndexBinaryFlat(self._turn.matrix_DE.shape[1])

    def _coded(self, vectors_ND: np.ndarray) -> np.ndarray:
        return np.packbits(self._turn(vectors_ND - self._mean_D) > 0, axis=1)

    def _parts(self) -> dict[str, np.ndarray]:
        codes = self._faiss.vector_to_array(self._index.xb).reshape(self._indexed, -1)
        return {"codes": codes, "mean": self._mean_D, "turn": self._turn.matrix_DE}

    def _assembled(self, piece: Piece) -> Any:
        self._mean_D = piece("mean", np.float32, (self.width,))
        bits = -(-self.width // 8) * 8
        self._turn = Turn(piece("turn", np.float32, (self.width, bits)))
        index = self._faiss.IndexBinaryFlat(bits)
        index.add(piece("codes", np.uint8, (len(self), bits // 8)))
        return index
