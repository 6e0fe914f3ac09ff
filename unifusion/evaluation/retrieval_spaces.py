"""Embedded items as spaces: in each the things that can be found there, and what belongs together across them."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.evaluation.embedding import Embeds, Entry, VectorStore, embed_clips, embed_words
from unifusion.evaluation.retrieval_rows import Item, plain

__all__ = ["PAIRS", "Entries", "embed_items", "reads_words", "relevance_of", "spaces_of"]

PAIRS = (
    ("text", "clip"), ("text", "video"), ("text", "image"), ("text", "audio"), ("audio", "video"), ("audio", "image"),
    ("image", "video"), ("words", "clip"), ("words", "video"), ("words", "audio"),
)  # fmt: skip
"""Spaces that are searched from one another, in both directions: `text` are captions, `words` what is said in a clip, `clip` picture and
sound together."""


log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What can be found in one space, each thing once.

    Attributes:
        space: text, words, clip, video, image or audio.
        names: what ranks call them: the caption, or the id of the first item.
        vectors_ND: float32, of length one.
        owners: numbers of the items that each belongs to.
    """

    space: str
    names: tuple[str, ...]
    vectors_ND: np.ndarray
    owners: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Things in it."""
        return len(self.names)


def reads_words(embedder: Embeds) -> bool:
    """Whether a model has a tower for texts."""
    return "text" in embedder.streams.values()


def embed_items(
    embedder: Embeds, items: Sequence[Item], store: VectorStore, *, batch_size: int = 8, workers: int = 0
) -> tuple[dict[str, Entries], dict[str, Any]]:  # fmt: skip
    """Embed items and, by a model that reads words, their captions.

    Returns:
        the spaces by name; and `clips`, `seconds`, how many clips were longer than the model takes (`cropped`), and of how many it reads
        nothing (`silent`).

    Raises:
        MediaError: a clip cannot be read; what was embedded before is kept.
    """
    media = {key: clip for item in items for key, clip in item.media.items()}
    found = embed_clips(embedder, media, store, batch_size=batch_size, workers=workers)
    read = reads_words(embedder)
    texts = list(dict.fromkeys(text for item in items for text in item.captions)) if read else []
    words = dict(zip(texts, embed_words(embedder, texts, store), strict=True))
    told = {
        "clips": len(found), "seconds": round(sum(e.duration_s for e in found.values()), 3),
        "cropped": sum(e.cropped_s > 0 for e in found.values()), "silent": sum(not e.vectors for e in found.values()),
    }  # fmt: skip
    if told["silent"]:
        log.warning("the model reads nothing of %d of %d clips", told["silent"], told["clips"])
    return spaces_of(items, found, words), told


def spaces_of(items: Sequence[Item], found: Mapping[str, Entry], captions: Mapping[str, np.ndarray]) -> dict[str, Entries]:
    """Put vectors into spaces.

    Two things of one content are one thing there, which belongs to both items: the same picture under two recordings. Captions stand there
    once for each item, and belong to all items that have an equal one.

    Args:
        items: the items.
        found: content key of a clip -> its vectors.
        captions: text -> vector; those without one are left out.
    """
    things: dict[str, dict[tuple[str, ...], tuple[str, np.ndarray, list[int]]]] = defaultdict(dict)
    for number, item in enumerate(items):
        by: dict[str, list[tuple[str, np.ndarray]]] = defaultdict(list)
        for key in item.media:
            for space, vector in found[key].vectors.items():
                by[space].append((key, vector))
        for space, own in by.items():
            content = tuple(key for key, _ in own)
            things[space].setdefault(content, (item.id, _joined([v for _, v in own]), []))[2].append(number)
    spaces = {
        space: Entries(
            space=space, names=tuple(n for n, _, _ in own.values()), vectors_ND=np.array([v for _, v, _ in own.values()], np.float32),
            owners=tuple(tuple(o) for _, _, o in own.values()),
        )
        for space, own in things.items()
    }  # fmt: skip
    told = [(number, text) for number, item in enumerate(items) for text in item.captions if text in captions]
    if told:
        by_text: dict[str, dict[int, None]] = defaultdict(dict)
        for number, text in told:
            by_text[plain(text)][number] = None
        # The item that a caption stands for comes first among its owners.
        owners = tuple((n, *(o for o in by_text[plain(text)] if o != n)) for n, text in told)
        vectors = np.array([captions[text] for _, text in told], np.float32)
        spaces["text"] = Entries(space="text", names=tuple(t for _, t in told), vectors_ND=vectors, owners=owners)
    return spaces


def _joined(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of vectors, of length one; one alone is left as it is."""
    if len(vectors) == 1:
        return vectors[0]
    total = np.sum(vectors, axis=0, dtype=np.float64)
    return np.asarray((total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32))


def relevance_of(queries: Entries, things: Entries) -> np.ndarray:
    """Which things belong to the same item as each query: bool (Q, N)."""
    by_item: dict[int, list[int]] = defaultdict(list)
    for place, owners in enumerate(things.owners):
        for item in owners:
            by_item[item].append(place)
    relevance = np.zeros((len(queries), len(things)), dtype=bool)
    for row, owners in zip(relevance, queries.owners, strict=True):
        for item in owners:
            row[by_item.get(item, [])] = True
    return relevance
