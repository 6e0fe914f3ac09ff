"""The files of a vector store: documents as JSON lines, vectors as safetensors, and what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from unifusion.errors import CheckpointError, ConfigError

__all__ = ["Kept", "read_kept", "write_kept"]

_FORMAT = "unifusion-langchain-store"
_VERSION = 1
_REMEDY = "add the documents to a new store."
Kept = tuple[dict[str, Any], dict[int, Document], dict[int, np.ndarray]]
"""Facts; documents by number; vectors (D,) by number."""


def write_kept(folder: Path, facts: Mapping[str, Any], documents: Mapping[int, Document], vectors: Mapping[int, np.ndarray]) -> None:
    """Write a store's files into a folder.

    Args:
        folder: that exists.
        facts: `backend`, `config`, `width`, `embedding`, `next`: the number that the next document gets.
        documents: by number.
        vectors: (D,) of each.

    Raises:
        ConfigError: metadata that JSON cannot hold.
    """
    numbers = sorted(documents)
    try:
        rows = [json.dumps(_row(number, documents[number])) + "\n" for number in numbers]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"metadata cannot be written as JSON: {error};", remedy="take texts, numbers, lists of them.") from error
    told = {"format": _FORMAT, "version": _VERSION, "count": len(numbers), **facts}
    (folder / "store.json").write_text(json.dumps(told), encoding="utf-8")
    (folder / "documents.jsonl").write_text("".join(rows), encoding="utf-8")
    held_ND = np.stack([vectors[n] for n in numbers]) if numbers else np.zeros((0, facts["width"]), np.float32)
    save_file({"vectors": held_ND, "numbers": np.asarray(numbers, np.int64)}, folder / "vectors.safetensors")


def read_kept(folder: Path) -> Kept:
    """Read what `write_kept` wrote.

    Raises:
        CheckpointError: files are missing, damaged, of another version, or do not belong together.
    """
    try:
        facts = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        if (facts["format"], facts["version"]) != (_FORMAT, _VERSION):
            raise CheckpointError(f"{folder} is {facts['format']!r} {facts['version']!r}, not {_FORMAT!r} {_VERSION};", remedy=_REMEDY)
        rows = [json.loads(line) for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines()]
        held = load_file(folder / "vectors.safetensors")
        vectors = dict(zip(held["numbers"].tolist(), held["vectors"], strict=True))
        documents = {row["number"]: Document(id=row["id"], page_content=row["page_content"], metadata=row["metadata"]) for row in rows}
        if not facts["count"] == len(rows) == len(documents) == len({row["id"] for row in rows}) or set(documents) != set(vectors):
            raise ValueError(f"{len(documents)} documents and {len(vectors)} vectors for {facts['count']}")
        if held["vectors"].shape[1] != facts["width"] or any(number >= facts["next"] for number in documents):
            raise ValueError(f"vectors {held['vectors'].shape} for the width {facts['width']}, or numbers above {facts['next']}")
        if not np.allclose(np.linalg.norm(held["vectors"], axis=1), 1.0, atol=1e-3):
            raise ValueError("vectors that are not of length one")
        if ":" in facts["backend"] or not isinstance(facts["config"], dict):
            raise ValueError(f"the back end is {facts['backend']!r}: wanted one of the catalog")
        return {**facts, "embedding": str(facts["embedding"])}, documents, vectors
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error};", remedy=_REMEDY) from error


def _row(number: int, document: Document) -> dict[str, Any]:
    """A document as JSON."""
    return {"number": number, "id": document.id, "page_content": document.page_content, "metadata": document.metadata}
