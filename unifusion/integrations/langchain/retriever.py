"""LangChain's `BaseRetriever` over a library that `unifusion index` made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from unifusion.errors import ConfigError

__all__ = ["UniFusionRetriever", "content_block"]


class UniFusionRetriever(BaseRetriever):
    """Windows of clips as documents: their words as `page_content`, where they are in the metadata.

    `invoke("a dog barks", k=3)` overrules `k`, and `where=` the filter.

    Attributes:
        library: an open `unifusion.retrieval.library.Library`, or anything with its `search`.
        k: documents.
        where: filter on the clips' metadata, such as {"label": "dog"}.
        least_score: documents below it are left out.
    """

    library: Any
    k: int = 5
    where: dict[str, Any] | None = None
    least_score: float | None = None

    @classmethod
    def from_index(cls, folder: str | Path, **choices: Any) -> Self:
        """Open an index.

        Raises:
            ConfigError: there is none.
            CheckpointError: it is damaged.
        """
        from unifusion.retrieval.library import Library

        return cls(library=Library.open(folder), **choices)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None, where: dict[str, Any] | None = None
    ) -> list[Document]:  # fmt: skip
        """The best windows, the best first."""
        found = self.library.search(query, self.k if k is None else k, self.where if where is None else where)
        return [_document(one) for one in found if self.least_score is None or one.score >= self.least_score]


def _document(found: Any) -> Document:
    """A found window. Where nothing is said in it, its content names file and span."""
    said = "\n".join(text for text in found.texts.values() if text)
    place = {
        "path": found.path, "kind": found.kind, "start_s": found.start_s, "end_s": found.end_s, "score": found.score,
        "streams": list(found.streams),
    }  # fmt: skip
    return Document(
        id=f"{found.path}#{found.start_s:g}-{found.end_s:g}",
        page_content=said or f"{Path(found.path).name} @ {found.start_s:g}-{found.end_s:g} s", metadata={**found.metadata, **place},
    )  # fmt: skip


def content_block(document: Document) -> dict[str, Any]:
    """The clip of a retrieved document as a content block that `ChatUniFusion` opens: the window itself, not its words.

    Raises:
        ConfigError: the document is not of a `UniFusionRetriever`, or of a store that clips were added to.
    """
    told = document.metadata
    if "path" not in told:
        raise ConfigError(f"document {document.id} names no file;", remedy="give one that a UniFusionRetriever found.")
    span = {"start_s": told.get("start_s"), "end_s": told.get("end_s")}
    if span["end_s"] == 0:  # a still has no span
        return {"type": "image", "url": told["path"]}
    extras = {key: value for key, value in span.items() if value is not None}
    return {"type": "video", "url": told["path"], **({"extras": extras} if extras else {})}
