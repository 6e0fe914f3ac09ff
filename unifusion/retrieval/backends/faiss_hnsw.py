"""A graph of near neighbours that a search walks along, then exact scores: the quickest answers, the longest building."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.backends._faiss import FaissBackend, Piece

__all__ = ["FaissHNSW"]


class FaissHNSW(FaissBackend):
    """FAISS's HNSW over 8-bit codes (Malkov and Yashunin, 2018). Memory beside the float32 vectors: D + 8 `links` bytes each.

    Vectors are woven in once; deleted ones stay in the graph as waypoints until a quarter is dead, which has it built again, as saving
    does after a deletion. Several threads weave in an order of their own, so two builds may differ in which rows they miss.

    Raises:
        ConfigError: faiss is not installed, or numbers that are too small.
    """

    @dataclass(kw_only=True)
    class Config(FaissBackend.Config):
        """Choices of the graph; bytes are close to the truth, so that a short list does."""

        links: int = 16
        """Neighbours of a vector above the lowest level, twice as many on it."""
        build_width: int = 80
        """Candidates held while a vector is woven in."""
        search_width: int = 128
        """Candidates held while searching, at least as many as are rescored. Where few rows match a filter, more are."""
        shortlist: int = 100
        per_hit: int = 5

    retrains = False

    def __init__(self, width: int, config: Any) -> None:
        if config.links < 2 or min(config.build_width, config.search_width) < 1:
            raise ConfigError("faiss_hnsw takes 2 links or more and widths of 1 or more;", remedy="raise them.")
        super().__init__(width, config)

    def _new(self) -> Any:
        """An index that was not trained."""
        faiss = self._faiss
        index = faiss.IndexHNSWSQ(self.width, faiss.ScalarQuantizer.QT_8bit, self.config.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.config.build_width
        return index

    def _train(self, sample_ND: np.ndarray) -> Any:
        index = self._new()
        index.train(sample_ND)
        return index

    def _options(self, rarity: float) -> dict[str, Any]:
        return {"class": "SearchParametersHNSW", "efSearch": int(self.config.search_width * rarity)}

    def _parts(self) -> dict[str, np.ndarray]:
        faiss, graph = self._faiss, self._index.hnsw
        store = faiss.downcast_index(self._index.storage)
        return {
            "codes": faiss.vector_to_array(store.codes).reshape(self._indexed, self.width),
            "ranges": faiss.vector_to_array(store.sq.trained),
            "levels": faiss.vector_to_array(graph.levels),
            "links": faiss.vector_to_array(graph.neighbors),
            "entry": np.array([graph.entry_point], np.int64),
        }

    def _assembled(self, piece: Piece) -> Any:
        """Put the graph together; every link is checked, since FAISS follows them without looking."""
        faiss, index = self._faiss, self._new()
        levels, links = piece("levels", np.int32, (len(self),)), piece("links", np.int32, (None,))
        entry = int(piece("entry", np.int64, (1,))[0])
        room = faiss.vector_to_array(index.hnsw.cum_nneighbor_per_level)
        fits = int(levels.min()) >= 1 and int(levels.max()) < len(room) and 0 <= entry < len(self) and levels[entry] == levels.max()
        if not fits:
            raise CheckpointError("the index has levels that do not exist;")
        offsets = np.concatenate([[0], np.cumsum(room[levels])])
        if len(links) != offsets[-1] or int(links.min()) < -1 or int(links.max()) >= len(self):
            raise CheckpointError("the index has links to vectors that do not exist;")
        for level in range(1, int(levels.max())):
            tall = np.flatnonzero(levels > level)
            told = links[offsets[tall][:, None] + np.arange(room[level], room[level + 1])]
            if (levels[told[told >= 0]] <= level).any():
                raise CheckpointError("the index has links to levels that do not exist;")
        store = faiss.downcast_index(index.storage)
        faiss.copy_array_to_vector(piece("ranges", np.float32, (2 * self.width,)), store.sq.trained)
        store.is_trained = index.is_trained = True
        store.add_sa_codes(piece("codes", np.uint8, (len(self), self.width)))
        faiss.copy_array_to_vector(levels, index.hnsw.levels)
        faiss.copy_array_to_vector(offsets.astype(np.uint64), index.hnsw.offsets)
        faiss.copy_array_to_vector(links, index.hnsw.neighbors)
        index.hnsw.entry_point, index.hnsw.max_level = entry, int(levels.max()) - 1
        index.ntotal = len(self)
        return index
