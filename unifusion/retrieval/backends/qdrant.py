"""Qdrant, for collections that outgrow one machine: its client speaks to a server, or to the client's own local mode. Extra `retrieval`.

The server is not on PyPI (it is a container or a binary); without `url` the client's local mode is used: NumPy in memory, exact, meant for
trying things out below 20,000 vectors. That mode can also keep a folder, but stores points there as pickles and unpickles them when it is
opened (qdrant-client 1.20, local/persistence.py), which runs whatever code such a file holds. It is therefore never given a path:
`save` writes vectors as safetensors and metadata as JSON, and `load` adds them again.

Ids are Qdrant's own whole numbers, metadata is the payload, filters are Qdrant's: `match` for texts and truth values, `range` for numbers,
since a `match` of 5 does not find 5.0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.backends._conditions import Condition, Group, Scalar, Tree, read_where
from unifusion.retrieval.backends._stores import (
    REBUILD,
    TIES,
    Sample,
    batches,
    checked,
    checked_queries,
    ranked,
    read_state,
    secret,
    speaking,
)
from unifusion.retrieval.backends.backend import Backend, Matches, Row, Where

__all__ = ["Qdrant"]

_BATCH_BYTES = 8 * 1024**2
"""Of one request's vectors: as JSON they are about three times that, and a server refuses bodies above 32 MB."""
_QUERIES = 64
_RANGES = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
_REMEDY = "see whether the server runs and the collection is there."


class Qdrant(Backend):
    """Vectors in a Qdrant collection with the distance Dot.

    Args:
        width: D.
        config: where the collection is, and how it is searched.

    Raises:
        ConfigError: qdrant-client is missing, no server answers, or the server's collection holds vectors already.
    """

    @dataclass(kw_only=True)
    class Config(Backend.Config):
        """Choices of Qdrant.

        Attributes:
            url: of a server, such as http://localhost:6333; empty takes the client's local mode.
            api_key_variable: environment variable with the server's key; the key itself is written nowhere.
            collection: its name.
            replace: a new index deletes what the server's collection holds.
            exact: compare with every vector; otherwise the server searches by HNSW, which is approximate.
            ef: candidates of such a search.
            timeout_s: of one request.
        """

        url: str = ""
        api_key_variable: str = ""
        collection: str = "unifusion"
        replace: bool = False
        exact: bool = True
        ef: int = 256
        timeout_s: int = 60

    def __init__(self, width: int, config: Config) -> None:
        self._begin(width, config)
        models = _models()
        with self._speaking(ConfigError):
            if self._client.collection_exists(config.collection):
                held = self._client.count(config.collection).count
                if held and not config.replace:
                    raise ConfigError(
                        f"{self.address} holds {held} vectors;", remedy="name another collection, or allow `replace` to delete them."
                    )
                self._client.delete_collection(config.collection)
            wanted = models.VectorParams(size=width, distance=models.Distance.DOT)
            self._client.create_collection(config.collection, vectors_config=wanted)

    def _begin(self, width: int, config: Config) -> None:
        """What making and loading have in common."""
        super().__init__(width, config)
        self.remote, self.exact = bool(config.url), config.exact or not config.url
        self.address = f"Qdrant collection {config.collection!r}" + (f" at {config.url}" if self.remote else "")
        self._sample = Sample()
        self._client = _connect(config)
        self._most = max(1, _BATCH_BYTES // (4 * width))

    def _speaking(self, kind: type[ConfigError] | type[CheckpointError], remedy: str = _REMEDY) -> Any:
        """Qdrant's own errors as one of ours."""
        return speaking(_faults(), kind, self.address, remedy)

    def __len__(self) -> int:
        with self._speaking(ConfigError):
            return int(self._client.count(self.config.collection, exact=True).count)

    def add(self, ids_N: np.ndarray, vectors_ND: np.ndarray, rows: Sequence[Row]) -> None:
        """Add vectors in batches; a store that fails between two keeps the first."""
        ids_N, vectors_ND, own = checked(self.width, ids_N, vectors_ND, rows)
        models = _models()
        with self._speaking(ConfigError):
            for part in batches(len(ids_N), self._most):
                batch = models.Batch(ids=ids_N[part].tolist(), vectors=vectors_ND[part].tolist(), payloads=own[part])
                self._client.upsert(self.config.collection, points=batch, wait=True)
        self._sample.add(ids_N, vectors_ND)

    def delete(self, ids_N: np.ndarray) -> int:
        """Remove vectors and return how many were there."""
        ids, gone = np.asarray(ids_N).tolist(), 0
        with self._speaking(ConfigError):
            for part in batches(len(ids), self._most):
                there = [p.id for p in self._client.retrieve(self.config.collection, ids=ids[part], with_payload=False)]
                if there:
                    self._client.delete(self.config.collection, points_selector=_models().PointIdsList(points=there), wait=True)
                gone += len(there)
        self._sample.drop(np.asarray(ids_N))
        return gone

    def search(self, queries_BD: np.ndarray, k: int, where: Where | None = None) -> Matches:
        """Find the k best rows for each query."""
        queries_BD = checked_queries(self.width, queries_BD, k)
        models = _models()
        chosen = _translated(read_where(where))
        params = models.SearchParams(exact=True) if self.config.exact else models.SearchParams(hnsw_ef=self.config.ef)
        asked = [
            models.QueryRequest(query=q, limit=k + TIES, filter=chosen, params=params if self.remote else None, with_payload=False)
            for q in queries_BD.tolist()
        ]
        found: list[tuple[list[int], list[float]]] = []
        with self._speaking(ConfigError):
            for part in batches(len(asked), _QUERIES):
                said = self._client.query_batch_points(self.config.collection, requests=asked[part])
                found += [([int(p.id) for p in one.points], [float(p.score) for p in one.points]) for one in said]
        return ranked(found, k)

    def save(self, folder: Path) -> None:
        """Write vectors and metadata; of a server, what it must hold when it is used again."""
        state: dict[str, Any] = {"width": self.width, "count": len(self)}
        if self.remote:
            self._sample.save(folder / "sample.safetensors")
        else:
            ids_N, vectors_ND, rows = self._everything()
            save_file({"ids": ids_N, "vectors": vectors_ND}, folder / "vectors.safetensors")
            (folder / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        (folder / "qdrant.json").write_text(json.dumps(state), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, width: int, config: Config) -> Self:
        """Add what was saved to a new local collection, or look whether the server's is as it was.

        Raises:
            CheckpointError: files are missing or damaged, the server does not answer, or its collection is not as it was.
        """
        state = read_state(folder / "qdrant.json", width)
        if not config.url:
            store = cls(width, config)
            store._fill(folder, state["count"])
            return store
        store = cls.__new__(cls)
        store._begin(width, config)
        store._sample = Sample.load(folder / "sample.safetensors")
        with store._speaking(CheckpointError, f"start the server with its data. {REBUILD}"):
            own = store._client.get_collection(config.collection).config.params.vectors
            if getattr(own, "size", None) != width or own.distance != _models().Distance.DOT:
                raise CheckpointError(f"{store.address} holds other vectors: {own};", remedy=REBUILD)
            count = store._client.count(config.collection, exact=True).count
            store._sample.verify(store.address, count, state["count"], store._fetch, lambda queries_BD: store.search(queries_BD, 1))
        return store

    def _fill(self, folder: Path, count: int) -> None:
        """Add what `save` wrote."""
        try:
            held = load_file(folder / "vectors.safetensors")
            rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
            if not len(held["ids"]) == len(rows) == count:
                raise ValueError(f"{len(held['ids'])} vectors and {len(rows)} rows instead of {count}")
            self.add(held["ids"], held["vectors"], rows)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, ConfigError) as error:
            raise CheckpointError(f"{folder} cannot be read: {error};", remedy=REBUILD) from error

    def _everything(self) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Ids (N,), vectors (N, D) and rows by ascending id."""
        points, after = [], None
        while True:
            some, after = self._client.scroll(self.config.collection, limit=self._most, offset=after, with_payload=True, with_vectors=True)
            points += some
            if after is None:
                break
        points.sort(key=lambda p: int(p.id))
        vectors_ND = np.asarray([p.vector for p in points], np.float32).reshape(len(points), self.width)
        return np.asarray([p.id for p in points], np.int64), vectors_ND, [dict(p.payload or {}) for p in points]

    def _fetch(self, ids: list[int]) -> dict[int, np.ndarray]:
        """Vectors (D,) by id; those that are there."""
        got = self._client.retrieve(self.config.collection, ids=ids, with_payload=False, with_vectors=True)
        return {int(p.id): np.asarray(p.vector, np.float32) for p in got}


def _models() -> Any:
    """The client's models.

    Raises:
        ConfigError: the library is not installed.
    """
    try:
        from qdrant_client import models
    except ImportError as error:
        raise ConfigError("the back end qdrant needs qdrant-client;", remedy="pip install 'unifusion-x[qdrant]'.") from error
    return models


def _faults() -> tuple[type[Exception], ...]:
    """What the client and the connection raise."""
    _models()
    from qdrant_client.common.client_exceptions import QdrantException
    from qdrant_client.http.exceptions import ApiException

    return QdrantException, ApiException, ValueError, TypeError, RuntimeError, OSError


def _connect(config: Qdrant.Config) -> Any:
    """A client of the server that answered, or of the local mode.

    Raises:
        ConfigError: there is no such server.
    """
    _models()
    from qdrant_client import QdrantClient

    if not config.url:
        return QdrantClient(":memory:")
    remedy = "start one (it is no Python package: see qdrant.tech), or leave url out for the client's local mode."
    with speaking(_faults(), ConfigError, f"no Qdrant server answers at {config.url}", remedy):
        key = secret(config.api_key_variable) or None
        client = QdrantClient(url=config.url, api_key=key, timeout=config.timeout_s, check_compatibility=False)
        client.get_collections()
    return client


def _translated(tree: Tree) -> Any:
    """Qdrant's filter."""
    models = _models()
    if isinstance(tree, Condition):
        return _condition(tree)
    parts = [_translated(part) for part in tree.parts]
    if tree.every:
        return models.Filter(must=parts)
    return models.Filter(should=parts) if parts else models.Filter(must=[models.HasIdCondition(has_id=[])])


def _condition(condition: Condition) -> Any:
    """One condition; a row without the field matches none but the denied ones."""
    models, key, value = _models(), _key(condition.field), condition.value
    if condition.operator in _RANGES:
        return models.Filter(must=[models.FieldCondition(key=key, range=models.Range(**{_RANGES[condition.operator]: value}))])
    values = value if condition.operator in ("$in", "$nin") else (value,)
    same = [_same(key, v) for v in values]
    if condition.operator in ("$ne", "$nin"):
        return models.Filter(must_not=same)
    return models.Filter(should=same) if same else _translated(Group(False, ()))


def _same(key: str, value: Scalar) -> Any:
    """A field that has one value."""
    models = _models()
    if isinstance(value, str | bool):
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))


def _key(field: str) -> str:
    """A field's name as one step of Qdrant's paths, in which dots and brackets mean something.

    Raises:
        ConfigError: it has a quotation mark, which a path cannot have.
    """
    if '"' in field:
        raise ConfigError(f"Qdrant cannot filter on the field {field!r};", remedy="name it without quotation marks.")
    return field if field.replace("_", "").replace("-", "").isalnum() else f'"{field}"'
