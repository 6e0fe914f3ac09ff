"""LangChain's `VectorStore` over any back end of the catalog, kept in a folder without pickle."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from unifusion import catalog
from unifusion.atomic import atomic_folder
from unifusion.conversation import Media
from unifusion.errors import CheckpointError, ConfigError
from unifusion.integrations.langchain.files import read_kept, write_kept
from unifusion.retrieval.backends.backend import Backend, Where

__all__ = ["UniFusionVectorStore"]

Ids = Sequence[str | None]
Metadatas = list[dict[str, Any]]


class UniFusionVectorStore(VectorStore):
    """Documents by the cosine of their vectors.

    It keeps documents and vectors itself; the back end, which is made when the first vectors come, searches a copy of them. Metadata is
    kept as it is; filters (`filter=`, in the spelling of `retrieval.backends.backend.Where`) see texts, numbers and truth values in it.

    Args:
        embedding: makes vectors of texts; a `UniFusionEmbeddings` also of clips.
        backend: name in the catalog: `unifusion list backends`.
        config: the back end's choices.
    """

    def __init__(self, embedding: Embeddings, *, backend: str = "exact", config: Mapping[str, Any] | None = None) -> None:
        self._embedding, self.backend_name = embedding, backend
        self._class: type[Backend] = catalog.load("backends", backend)
        self._config = dict(config or {})
        self._backend: Backend | None = None
        self._documents: dict[int, Document] = {}
        self._vectors: dict[int, np.ndarray] = {}
        self._numbers: dict[str, int] = {}
        self._next = 0

    @property
    def embeddings(self) -> Embeddings:
        """What makes the vectors."""
        return self._embedding

    def __len__(self) -> int:
        return len(self._documents)

    @classmethod
    def from_texts(
        cls, texts: list[str], embedding: Embeddings, metadatas: Metadatas | None = None, *, ids: list[str] | None = None,
        **options: Any,
    ) -> Self:  # fmt: skip
        """Make a store and add texts; `backend` and `config` as for the class."""
        store = cls(embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self, texts: Iterable[str], metadatas: Metadatas | None = None, *, ids: Ids | None = None, **options: Any
    ) -> list[str]:  # fmt: skip
        """Embed texts and add them; one whose id is there takes its place. Returns the ids."""
        found = list(texts)
        return self._add(found, self._embedding.embed_documents(found), metadatas, ids)

    def add_media(
        self, media: Sequence[Media | str | Path], metadatas: Metadatas | None = None, *, ids: Ids | None = None,
        texts: Sequence[str] | None = None, space: str = "clip",
    ) -> list[str]:  # fmt: skip
        """Embed clips and add them, to be found by texts; their file is `path` in the metadata, with the span's seconds.

        Args:
            media: spans or files.
            metadatas: of each.
            ids: of each.
            texts: content of the documents; the transcript, or the file's name, where there are none.
            space: of `UniFusionEmbeddings.embed_media`.

        Raises:
            MediaError: a file cannot be decoded.
            ConfigError: the embeddings make no vectors of clips.
        """
        embed: Callable[..., list[list[float]]] | None = getattr(self._embedding, "embed_media", None)
        if embed is None:
            raise ConfigError(f"{type(self._embedding).__name__} makes no vectors of clips;", remedy="take UniFusionEmbeddings.")
        contents = [_content(one) for one in media]
        given = [{} for _ in contents] if metadatas is None else metadatas
        said = [text for text, _ in contents] if texts is None else list(texts)
        vectors = embed(media, space=space)
        if not len(said) == len(given) == len(vectors):
            raise ConfigError(f"{len(said)} texts and {len(given)} metadata for {len(vectors)} clips;", remedy="give one of each.")
        return self._add(said, vectors, [{**own, **place} for own, (_, place) in zip(given, contents, strict=True)], ids)

    def _add(
        self, texts: Sequence[str], vectors: Sequence[Sequence[float]], metadatas: Metadatas | None,
        ids: Ids | None,
    ) -> list[str]:  # fmt: skip
        """Add documents with their vectors (N, D).

        Raises:
            ConfigError: not as many metadata or ids as texts, or a vector of length zero.
        """
        metadatas = [{} for _ in texts] if metadatas is None else metadatas
        given = [None] * len(texts) if ids is None else ids
        if not len(texts) == len(vectors) == len(metadatas) == len(given):
            raise ConfigError(f"{len(texts)} texts, {len(metadatas)} metadata, {len(given)} ids;", remedy="give one of each.")
        names = [name or str(uuid.uuid4()) for name in given]
        if not names:
            return []
        vectors_ND = _unit(np.asarray(vectors, np.float32))
        latest = {name: n for n, name in enumerate(names)}  # of an id given twice the last counts
        chosen = sorted(latest.values())
        numbers = [self._numbers.get(names[n], self._next + i) for i, n in enumerate(chosen)]
        rows = [_filterable(metadatas[n]) for n in chosen]
        self._opened(vectors_ND.shape[1]).add(np.asarray(numbers, np.int64), vectors_ND[chosen], rows)
        self._next += len(chosen)
        for number, n in zip(numbers, chosen, strict=True):
            self._numbers[names[n]] = number
            self._documents[number] = Document(id=names[n], page_content=texts[n], metadata=dict(metadatas[n]))
            self._vectors[number] = vectors_ND[n]
        return names

    def _opened(self, width: int) -> Backend:
        """The back end."""
        if self._backend is None:
            self._backend = self._class(width, _configured(self._class, self._config))
        return self._backend

    def delete(self, ids: list[str] | None = None, **options: Any) -> bool:
        """Remove documents; all of them without ids. Unknown ids are passed over."""
        named = list(self._numbers) if ids is None else ids
        numbers = [self._numbers.pop(name) for name in dict.fromkeys(named) if name in self._numbers]
        if numbers and self._backend is not None:
            self._backend.delete(np.asarray(numbers, np.int64))
        for number in numbers:
            del self._documents[number], self._vectors[number]
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by their ids, in that order; unknown ones are left out."""
        return [_copy(self._documents[self._numbers[name]]) for name in ids if name in self._numbers]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """The k documents nearest to a text, the best first; `filter=` chooses among them."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **options)]

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> list[tuple[Document, float]]:
        """The same with the cosine of each."""
        return self.similarity_search_with_score_by_vector(self._embedding.embed_query(query), k, **options)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **options: Any) -> list[Document]:
        """The k documents nearest to a vector (D,): of a text, or of a clip by `embed_media`."""
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, **options)]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, *, filter: Where | None = None, **options: Any
    ) -> list[tuple[Document, float]]:  # fmt: skip
        """The same with the cosine of each."""
        return [(_copy(self._documents[number]), score) for number, score in self._nearest(embedding, k, filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:  # fmt: skip
        """Near to a text and not all alike: of the `fetch_k` nearest the k by Carbonell and Goldstein's rule."""
        return self.max_marginal_relevance_search_by_vector(self._embedding.embed_query(query), k, fetch_k, lambda_mult, **options)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, *, filter: Where | None = None,
        **options: Any,
    ) -> list[Document]:  # fmt: skip
        """The same for a vector (D,)."""
        numbers = [number for number, _ in self._nearest(embedding, max(k, fetch_k), filter)]
        if not numbers:
            return []
        held = [self._vectors[number].tolist() for number in numbers]
        best = maximal_marginal_relevance(np.asarray(embedding, np.float32), held, lambda_mult, k)
        return [_copy(self._documents[numbers[n]]) for n in best]

    def _nearest(self, embedding: Sequence[float], k: int, where: Where | None) -> list[tuple[int, float]]:
        """Numbers and cosines of the k nearest."""
        if self._backend is None or not self._documents:
            return []
        found = self._backend.search(_unit(np.asarray([embedding], np.float32)), k, where)
        return [(int(i), float(s)) for i, s in zip(found.ids_BK[0], found.scores_BK[0], strict=True) if i >= 0]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """A cosine as a relevance in [0, 1]."""
        return lambda cosine: (1.0 + cosine) / 2.0

    def save(self, folder: str | Path) -> None:
        """Write the store into a folder, in whose place it comes whole or not at all: JSON, safetensors, and the back end's own files.

        Raises:
            ConfigError: metadata that JSON cannot hold.
        """
        facts = {
            "backend": self.backend_name, "config": self._config, "width": self._backend.width if self._backend else 0,
            "embedding": getattr(self._embedding, "key", ""), "next": self._next,
        }  # fmt: skip
        with atomic_folder(Path(folder)) as work:
            write_kept(work, facts, self._documents, self._vectors)
            if self._backend is not None:
                (work / "backend").mkdir()
                self._backend.save(work / "backend")

    @classmethod
    def load(cls, folder: str | Path, embedding: Embeddings, *, rebuild: bool = False) -> Self:
        """Read what `save` wrote.

        Args:
            folder: where.
            embedding: the one it was made with.
            rebuild: make the back end anew from the vectors, instead of reading its own files.

        Raises:
            CheckpointError: files are missing or damaged, of another version, or of another embedding.
        """
        facts, documents, vectors = read_kept(Path(folder))
        if facts["embedding"] != getattr(embedding, "key", ""):
            raise CheckpointError(f"{folder} is of other embeddings;", remedy="load it with those, or add the documents to a new store.")
        store = cls(embedding, backend=facts["backend"], config=facts["config"])
        store._documents, store._vectors, store._next = documents, vectors, facts["next"]
        store._numbers = {str(document.id): number for number, document in documents.items()}
        if facts["width"] and rebuild:
            rows = [_filterable(documents[number].metadata) for number in vectors]
            held_ND = np.stack(list(vectors.values())) if vectors else np.zeros((0, facts["width"]), np.float32)
            store._opened(facts["width"]).add(np.asarray(list(vectors), np.int64), held_ND, rows)
        elif facts["width"]:
            store._backend = store._class.load(Path(folder) / "backend", facts["width"], _configured(store._class, store._config))
            if len(store._backend) != len(documents):
                count = f"{len(store._backend)} vectors for {len(documents)} documents"
                raise CheckpointError(f"{folder}: {count};", remedy="load it with rebuild=True.")
        return store


def _configured(backend: type[Backend], choices: Mapping[str, Any]) -> Any:
    """The back end's choices.

    Raises:
        ConfigError: it has no such choice.
    """
    try:
        return backend.Config(**choices)
    except TypeError as error:
        known = ", ".join(backend.Config.__dataclass_fields__)
        raise ConfigError(f"choices of {backend.__name__}: {error};", remedy=f"there are {known}.") from error


def _unit(vectors_ND: np.ndarray) -> np.ndarray:
    """Vectors of length one (N, D) float32.

    Raises:
        ConfigError: one has no direction.
    """
    length_N1 = np.linalg.norm(vectors_ND, axis=-1, keepdims=True)
    if not (np.isfinite(length_N1) & (length_N1 > 0)).all():
        raise ConfigError("a vector of length zero, or not finite;", remedy="look at what the embeddings give.")
    unit: np.ndarray = vectors_ND / length_N1
    return unit


def _filterable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What of the metadata filters can see."""
    return {
        key: value
        for key, value in metadata.items()
        if isinstance(value, str | bool) or (isinstance(value, int | float) and math.isfinite(value) and abs(value) <= 2**53)
    }


def _content(one: Media | str | Path) -> tuple[str, dict[str, Any]]:
    """What a document of a clip says, and where the clip is."""
    if not isinstance(one, Media):
        return Path(one).name, {"path": str(one)}
    span = {key: value for key, value in (("start_s", one.start_s), ("end_s", one.end_s)) if value is not None}
    return one.transcript or one.name, {"path": one.name, **span}


def _copy(document: Document) -> Document:
    """A document whose metadata may be changed."""
    return Document(id=document.id, page_content=document.page_content, metadata=dict(document.metadata))
