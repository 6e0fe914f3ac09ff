"""One byte a number, then exact scores: half to a third of the time of a brute force, a quarter of its memory traffic, hardly a miss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.retrieval.backends._faiss import FaissBackend, Piece

__all__ = ["FaissSQ8"]


class FaissSQ8(FaissBackend):
    """FAISS's 8-bit scalar quantizer over all vectors. Memory beside the float32 vectors: D bytes each."""

    @dataclass(kw_only=True)
    class Config(FaissBackend.Config):
        """Choices of a coarse search; bytes are close to the truth, so that a short list does."""

        shortlist: int = 200
        per_hit: int = 5

    def _new(self) -> Any:
        """An index that was not trained."""
        faiss = self._faiss
        return faiss.IndexScalarQuantizer(self.width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)

    def _train(self, sample_ND: np.ndarray) -> Any:
        index = self._new()
        index.train(sample_ND)
        return index

    def _parts(self) -> dict[str, np.ndarray]:
        codes = self._faiss.vector_to_array(self._index.codes).reshape(self._indexed, self.width)
        return {"codes": codes, "ranges": self._faiss.vector_to_array(self._index.sq.trained)}

    def _assembled(self, piece: Piece) -> Any:
        index = self._new()
        self._faiss.copy_array_to_vector(piece("ranges", np.float32, (2 * self.width,)), index.sq.trained)
        index.is_trained = True
        index.add_sa_codes(piece("codes", np.uint8, (len(self), self.width)))
        return index
