"""Lists around centroids, of which a few are looked at, then exact scores: for many vectors that lie in clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.backends._faiss import FaissBackend, Piece

__all__ = ["FaissIVF"]


class FaissIVF(FaissBackend):
    """FAISS's inverted lists of 8-bit codes. Memory beside the float32 vectors: D + 8 bytes each.

    What lies in a list that is not looked at is missed, so vectors without clusters need nearly all lists: docs/benchmarks.md.

    Raises:
        ConfigError: faiss is not installed, or numbers below 0.
    """

    @dataclass(kw_only=True)
    class Config(FaissBackend.Config):
        """Choices of the lists; bytes are close to the truth, so that a short list does."""

        lists: int = 0
        """0 takes twice the root of the number of vectors."""
        probes: int = 0
        """Lists looked at; 0 takes a sixteenth of them, 8 at least. Where few rows match a filter, more are."""
        rounds: int = 8
        """Of k-means."""
        shortlist: int = 100
        per_hit: int = 5

    def __init__(self, width: int, config: Any) -> None:
        if min(config.lists, config.probes) < 0 or config.rounds < 1:
            raise ConfigError("lists and probes of faiss_ivf are 0 or more, rounds 1 or more;", remedy="raise them.")
        super().__init__(width, config)

    def _new(self, lists: int) -> Any:
        """An index that was not trained."""
        faiss = self._faiss
        coarse = faiss.IndexFlatIP(self.width)
        index = faiss.IndexIVFScalarQuantizer(
            coarse, self.width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )  # fmt: skip
        index.cp.niter, index.cp.min_points_per_centroid, index.cp.spherical = self.config.rounds, 1, True
        return index

    def _train(self, sample_ND: np.ndarray) -> Any:
        lists = self.config.lists or round(2 * self._ids.count**0.5)
        index = self._new(min(lists, len(sample_ND)))
        index.train(sample_ND)
        return index

    def _options(self, rarity: float) -> dict[str, Any]:
        lists = self._index.nlist
        probes = self.config.probes or max(8, lists // 16)
        return {"class": "SearchParametersIVF", "nprobe": min(lists, int(probes * rarity))}

    def _parts(self) -> dict[str, np.ndarray]:
        faiss, index, held = self._faiss, self._index, self._index.invlists
        places = np.empty(self._indexed, np.int32)
        codes = np.empty((self._indexed, self.width), np.uint8)
        for number in range(index.nlist):
            size = held.list_size(number)
            if size:
                slots = faiss.rev_swig_ptr(held.get_ids(number), size)
                places[slots] = number
                codes[slots] = faiss.rev_swig_ptr(held.get_codes(number), size * self.width).reshape(size, self.width)
        centroids = index.quantizer.reconstruct_n(0, index.nlist)
        return {"codes": codes, "lists": places, "centroids": centroids, "ranges": faiss.vector_to_array(index.sq.trained)}

    def _assembled(self, piece: Piece) -> Any:
        faiss = self._faiss
        centroids = piece("centroids", np.float32, (None, self.width))
        places, codes = piece("lists", np.int32, (len(self),)), piece("codes", np.uint8, (len(self), self.width))
        if not len(centroids) or int(places.min()) < 0 or int(places.max()) >= len(centroids):
            raise CheckpointError(f"the index names lists beyond its {len(centroids)};")
        index = self._new(len(centroids))
        index.quantizer.add(centroids)
        faiss.copy_array_to_vector(piece("ranges", np.float32, (2 * self.width,)), index.sq.trained)
        index.is_trained = True
        order = np.argsort(places, kind="stable")
        ends = np.searchsorted(places[order], np.arange(len(centroids) + 1))
        for number in range(len(centroids)):
            slots = np.ascontiguousarray(order[ends[number] : ends[number + 1]], np.int64)
            own = np.ascontiguousarray(codes[slots])  # named, since a pointer alone does not keep an array alive
            if len(slots):
                index.invlists.add_entries(number, len(slots), faiss.swig_ptr(slots), faiss.swig_ptr(own))
        index.ntotal = len(self)
        return index
