"""ChromaDB: a collection in a folder of its own, or in a server. Extra `retrieval`.

Chroma searches by HNSW, so results are near exact: recall@10 of 0.998 among 20,000 random vectors of width 64 at `ef` 256, and of 0.965 of
width 512 at `ef` 512; exact in collections that are not larger than `ef` (but for scores nearer than 1e-7, to which distances are rounded).
Its own embedder (which downloads a model) is never used, its telemetry is off.

Faults of Chroma 1.5.9 that this file works around:
- the process dies of SIGSEGV on a segment that was cut short (its issue 7238): files have the SHA-256 they had before Chroma sees them;
- an index above 1,000 vectors was lost over a restart (7090), or gave ids of other vectors: whatever is opened again must have the number
  of vectors it had, and 64 of them must be there unchanged and be found;
- opening and searching change files on disk (measured: chroma.sqlite3 and data_level0.bin), and two processes must not open one folder:
  a saved folder is copied into a private one and is never opened itself, so it can have many readers;
- `$lt 7.5` left out some of the rows whose number is whole: numbers are stored and compared as floats;
- an upsert keeps fields of the old metadata, and deleting an unknown id counts as one: vectors that are replaced are deleted first,
  and what is deleted is looked up.

Above 1,000 vectors Chroma writes an `index_metadata.pickle` into its folder. Its Rust code reads that as plain data; Python's pickle never
does (the client that would, `SegmentAPI`, is not used, whatever the environment says).
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.backends._chroma import Home, connect, copied, faults, stored, translated
from unifusion.retrieval.backends._conditions import read_where
from unifusion.retrieval.backends._stores import (
    REBUILD,
    TIES,
    Sample,
    batches,
    checked,
    checked_queries,
    ranked,
    read_state,
    speaking,
)
from unifusion.retrieval.backends.backend import Backend, Matches, Row, Where

__all__ = ["Chroma"]

_BATCH_BYTES = 16 * 1024**2
"""Of one request: servers refuse bodies above 40 MB, and base64 makes vectors a third longer."""
_QUERIES = 256


class Chroma(Backend):
    """Vectors in a Chroma collection, searched by HNSW with inner product. It is approximate: see `Config.ef`.

    Without `host` the collection lives in a private folder, which `save` copies and which is removed with this object.

    Args:
        width: D.
        config: where the collection is, and how it is searched.

    Raises:
        ConfigError: chromadb is missing, no server answers, or the server's collection holds vectors already.
    """

    exact = False

    @dataclass(kw_only=True)
    class Config(Backend.Config):
        """Choices of Chroma.

        Attributes:
            host: of a server; empty keeps the collection in a folder.
            port: of the server.
            ssl: speak HTTPS with it.
            token_variable: environment variable with the server's token; the token itself is written nowhere.
            token_header: `Authorization` (as a bearer) or `X-Chroma-Token`.
            collection: name of 3 to 512 letters, digits, dots, dashes and underscores.
            replace: a new index deletes what the server's collection holds.
            ef: candidates of a search; collections of up to so many vectors are searched exactly.
            ef_construction: candidates while the graph is built.
            neighbours: links of a vector.
        """

        host: str = ""
        port: int = 8000
        ssl: bool = False
        token_variable: str = ""
        token_header: str = "Authorization"
        collection: str = "unifusion"
        replace: bool = False
        ef: int = 512
        ef_construction: int = 200
        neighbours: int = 32

    def __init__(self, width: int, config: Config) -> None:
        self._begin(width, config)
        client = self._home.open() if self._home else connect(config)
        with self._speaking(ConfigError, "check the name of the collection, and the server."):
            if self.remote and config.collection in [c.name for c in client.list_collections()]:
                held = client.get_collection(config.collection, embedding_function=None).count()
                if held and not config.replace:
                    raise ConfigError(
                        f"{self.address} holds {held} vectors;", remedy="name another collection, or allow `replace` to delete them."
                    )
                client.delete_collection(config.collection)
            self._collection = client.create_collection(
                config.collection, embedding_function=None, metadata={"width": width},
                configuration={"hnsw": {
                    "space": "ip", "ef_search": config.ef, "ef_construction": config.ef_construction, "max_neighbors": config.neighbours,
                }},
            )  # fmt: skip
        self._hold(client)

    def _begin(self, width: int, config: Config) -> None:
        """What making and loading have in common."""
        super().__init__(width, config)
        self.remote = bool(config.host)
        self.address = f"Chroma collection {config.collection!r}" + (f" at {config.host}:{config.port}" if self.remote else "")
        self._sample = Sample()
        self._home = None if self.remote else Home()
        if self._home:
            weakref.finalize(self, self._home.remove)

    def _hold(self, client: Any) -> None:
        """Learn from an open client how much it takes at once."""
        self._most = max(1, min(int(client.get_max_batch_size()), _BATCH_BYTES // (4 * self.width)))

    def _speaking(self, kind: type[ConfigError] | type[CheckpointError], remedy: str) -> Any:
        """Chroma's own errors as one of ours."""
        return speaking(faults(), kind, self.address, remedy)

    def __len__(self) -> int:
        with self._speaking(ConfigError, "see whether the server still runs."):
            return int(self._collection.count())

    def add(self, ids_N: np.ndarray, vectors_ND: np.ndarray, rows: Sequence[Row]) -> None:
        """Add vectors in batches that the client takes; a store that fails between two keeps the first."""
        ids_N, vectors_ND, own = checked(self.width, ids_N, vectors_ND, rows)
        self.delete(ids_N)
        with self._speaking(ConfigError, "see whether the server still runs."):
            for part in batches(len(ids_N), self._most):
                self._collection.add(
                    ids=[str(i) for i in ids_N[part].tolist()], embeddings=vectors_ND[part], metadatas=[stored(row) for row in own[part]]
                )
        self._sample.add(ids_N, vectors_ND)

    def delete(self, ids_N: np.ndarray) -> int:
        """Remove vectors and return how many were there."""
        names, gone = [str(i) for i in np.asarray(ids_N).tolist()], 0
        with self._speaking(ConfigError, "see whether the server still runs."):
            for part in batches(len(names), self._most):
                there = self._collection.get(ids=names[part], include=[])["ids"]
                if there:
                    self._collection.delete(ids=there)
                gone += len(there)
        self._sample.drop(np.asarray(ids_N))
        return gone

    def search(self, queries_BD: np.ndarray, k: int, where: Where | None = None) -> Matches:
        """Find the k best rows for each query."""
        queries_BD = checked_queries(self.width, queries_BD, k)
        chosen = translated(read_where(where))
        if chosen is False:
            return ranked([([], [])] * len(queries_BD), k)
        found: list[tuple[list[int], list[float]]] = []
        with self._speaking(ConfigError, "see whether the server still runs."):
            for part in batches(len(queries_BD), _QUERIES):
                said = self._collection.query(
                    query_embeddings=queries_BD[part], n_results=k + TIES, where=None if chosen is True else chosen, include=["distances"]
                )
                found += [([int(i) for i in ids], [1.0 - d for d in far]) for ids, far in zip(said["ids"], said["distances"], strict=True)]
        return ranked(found, k)

    def save(self, folder: Path) -> None:
        """Copy the collection's folder and what it must be when it is opened again; of a server, only the latter.

        Raises:
            CheckpointError: Chroma does not find in its own folder what it was given.
        """
        state: dict[str, Any] = {"width": self.width, "count": len(self), "files": {}}
        self._sample.save(folder / "sample.safetensors")
        if self._home:
            self._home.close()
            try:
                state["files"] = copied(self._home.path, folder / "store")
            finally:
                self._attach(self._home.open())
            self._verify(state["count"])
        (folder / "chroma.json").write_text(json.dumps(state), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, width: int, config: Config) -> Self:
        """Open a copy of what was saved, or the server's collection, and look whether it is as it was.

        Raises:
            CheckpointError: files are missing or changed, the server does not answer, or the collection is not as it was.
        """
        state = read_state(folder / "chroma.json", width)
        store = cls.__new__(cls)
        store._begin(width, config)
        store._sample = Sample.load(folder / "sample.safetensors")
        if store._home:
            try:
                found = copied(folder / "store", store._home.path)
            except OSError as error:
                raise CheckpointError(f"{folder / 'store'} cannot be read: {error};", remedy=REBUILD) from error
            if found != state.get("files"):
                raise CheckpointError(f"files in {folder / 'store'} are missing, damaged or others;", remedy=REBUILD)
        with store._speaking(CheckpointError, f"start the server with its data. {REBUILD}" if store.remote else REBUILD):
            client = store._home.open() if store._home else connect(config)
            store._attach(client)
        store._hold(client)
        store._verify(state["count"])
        return store

    def _attach(self, client: Any) -> None:
        """Take the collection out of an open client.

        Raises:
            CheckpointError: it is of another width or another distance.
        """
        self._collection = client.get_collection(self.config.collection, embedding_function=None)
        own, space = (self._collection.metadata or {}).get("width"), (self._collection.configuration.get("hnsw") or {}).get("space")
        if own != self.width or space != "ip":
            raise CheckpointError(f"{self.address} is of width {own} and distance {space!r}, not {self.width} and 'ip';", remedy=REBUILD)

    def _verify(self, wanted: int) -> None:
        """Compare the open collection with what it held."""
        with self._speaking(CheckpointError, REBUILD):
            self._sample.verify(self.address, self._collection.count(), wanted, self._fetch, lambda queries_BD: self.search(queries_BD, 1))

    def _fetch(self, ids: list[int]) -> dict[int, np.ndarray]:
        """Vectors (D,) by id; those that are there."""
        got = self._collection.get(ids=[str(i) for i in ids], include=["embeddings"])
        return {int(i): np.asarray(v, np.float32) for i, v in zip(got["ids"], got["embeddings"], strict=True)}
