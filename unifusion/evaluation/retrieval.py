"""An embedding model on rows of any set: retrieval in all directions, zero-shot classes, a linear probe, and pictures of its space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.errors import DatasetError
from unifusion.evaluation.embedding import Embeds, VectorStore
from unifusion.evaluation.retrieval_classes import check_probe, label_of, labels_of, linear_probe, prompts_of, zero_shot
from unifusion.evaluation.retrieval_figures import Draws, direction
from unifusion.evaluation.retrieval_rows import Item
from unifusion.evaluation.retrieval_spaces import PAIRS, Entries, embed_items, reads_words
from unifusion.evaluation.space_map import check_maps, evenly, gaps, map_points, similarity

__all__ = ["Asked", "Told", "evaluate_retrieval", "evaluate_spaces"]

_MAPPED = ("clip", "video", "image", "audio", "text", "words")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be measured.

    Attributes:
        labels: to classify by and to colour maps with; None takes those that the rows have.
        templates: prompts for classes, with {} for the class; None takes built-in ones.
        rescore: also score by dual softmax and inverted softmax, in lines of their own.
        maps: pca, tsne, umap.
        most_points: of a map, evenly from each space.
        draws: cut-offs and resamples.
    """

    labels: tuple[str, ...] | None = None
    templates: tuple[str, ...] | None = None
    rescore: bool = False
    maps: tuple[str, ...] = ("pca", "tsne")
    most_points: int = 500
    draws: Draws = field(default_factory=Draws)


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was measured.

    Attributes:
        results: plain values, the same at every run.
        records: what each query found.
        points: one a point of a map: `map`, `method`, `space`, `name`, `label`, `x`, `y`.
    """

    results: dict[str, Any]
    records: list[dict[str, Any]]
    points: list[dict[str, Any]]


def evaluate_retrieval(
    embedder: Embeds, items: Sequence[Item], folder: str | Path, asked: Asked | None = None, *, train: Sequence[Item] = (),
    batch_size: int = 8, workers: int = 0,
) -> Told:  # fmt: skip
    """Embed items and measure the space.

    Args:
        embedder: the model.
        items: of a split.
        folder: `embeddings/` in it keeps vectors by embedder and content, so that another run embeds only what is new.
        asked: what to measure.
        train: items of another split, for a linear probe; none without them.
        batch_size: clips at once.
        workers: threads that decode ahead.

    Raises:
        MediaError: a clip cannot be read; what was embedded before is kept.
        DatasetError: nothing of the items belongs together: neither captions, nor labels, nor two streams.
    """
    asked = asked or Asked()
    store = VectorStore(Path(folder) / "embeddings", embedder.key, embedder.width)
    keys = labels_of(items, asked.labels)
    check_maps(asked.maps)  # all that can be refused is refused before anything long
    for key in keys:
        prompts_of(key, [], asked.templates)
    if train:
        check_probe()
    spaces, counts = embed_items(embedder, items, store, batch_size=batch_size, workers=workers)
    told = evaluate_spaces(spaces, items, asked, scale=embedder.scale)
    named = keys if reads_words(embedder) else []
    classes = [zero_shot(embedder, spaces, items, key, store, asked.draws, templates=asked.templates) for key in named]
    probes = []
    if train:
        learnt, _ = embed_items(embedder, train, store, batch_size=batch_size, workers=workers)
        probes = [linear_probe((learnt, train), (spaces, items), key, asked.draws) for key in keys]
    probes = [p for p in probes if p["spaces"]]
    if not told.results["retrieval"] and not classes and not probes:
        raise DatasetError("the rows have neither captions, nor labels, nor two streams;", remedy="check the reader and its options.")
    model = {"embedder": embedder.key, "width": embedder.width}
    results = {**told.results, "embedded": {**counts, **model}, "zero_shot": classes, "linear_probe": probes}
    return Told(results=results, records=told.records, points=told.points)


def evaluate_spaces(spaces: Mapping[str, Entries], items: Sequence[Item], asked: Asked | None = None, *, scale: float = 0.0) -> Told:
    """Measure a space from vectors alone: retrieval in all directions, gaps, similarity, maps.

    Args:
        spaces: of the items.
        items: the items.
        asked: what to measure.
        scale: inverse temperature for `rescore`; 0 for none.
    """
    asked = asked or Asked()
    groups = [item.group for item in items]
    directions: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for a, b in PAIRS:
        for one, other in ((a, b), (b, a)):
            if one not in spaces or other not in spaces or min(len(spaces[one]), len(spaces[other])) < 2:
                continue
            found = direction(spaces[one], spaces[other], groups, asked.draws, scale=scale if asked.rescore else 0.0)
            if found is not None:
                directions.append(found[0])
                records += found[1]
    keys = labels_of(items, asked.labels)
    labels = [label_of(item, keys[0]) if keys else "" for item in items]
    results = {
        "items": len(items), "groups": len(set(groups)), "captions": len(spaces["text"]) if "text" in spaces else 0,
        "spaces": {name: len(spaces[name]) for name in _MAPPED if name in spaces}, "retrieval": directions, "gaps": gaps(spaces),
        "similarity": _similarity(spaces, labels), "mapped_by": keys[0] if keys else "",
    }  # fmt: skip
    return Told(results=results, records=records, points=_points(spaces, labels, asked))


def _similarity(spaces: Mapping[str, Entries], labels: Sequence[str]) -> dict[str, Any] | None:
    """Captions by clips, else sound by picture, else clips by clips; None without clips."""
    for columns, rows in (("text", "clip"), ("audio", "video"), ("audio", "image"), ("clip", "clip")):
        if rows in spaces and columns in spaces:
            return similarity(spaces[rows], spaces[columns], labels)
    return None


def _points(spaces: Mapping[str, Entries], labels: Sequence[str], asked: Asked) -> list[dict[str, Any]]:
    """Two maps by each method: of clips by label, and of all spaces together."""
    out = []
    streams = [name for name in _MAPPED if name in spaces and name != "clip"]
    for what, names in (("label", [n for n in ("clip",) if n in spaces]), ("stream", streams)):
        chosen = [(name, i) for name in names for i in evenly(len(spaces[name]), asked.most_points)]
        if len(chosen) < 5 or (what == "stream" and len(names) < 2):
            continue
        vectors = np.stack([spaces[name].vectors_ND[i] for name, i in chosen])
        for method in asked.maps:
            places = map_points(vectors, method, seed=asked.draws.seed)
            for (name, i), (x, y) in zip(chosen, places.tolist(), strict=True):
                known = {"space": name, "name": spaces[name].names[i], "label": labels[spaces[name].owners[i][0]]}
                out.append({"map": what, "method": method, **known, "x": round(x, 5), "y": round(y, 5)})
    return out
