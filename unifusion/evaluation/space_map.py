"""A space on a plane, and how its parts lie to each other: PCA, t-SNE, UMAP; modality gap; similarity by label."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unifusion.errors import ConfigError, nearest
from unifusion.evaluation.retrieval_spaces import Entries

__all__ = ["METHODS", "check_maps", "evenly", "gaps", "map_points", "similarity"]

METHODS = ("pca", "tsne", "umap")
_NEEDS = {"tsne": ("sklearn", "eval"), "umap": ("umap", "maps")}
"""Method -> its library, and the extra that has it."""
_FEWEST = 5


def check_maps(methods: Sequence[str]) -> None:
    """Refuse a map that cannot be made, before anything long.

    Raises:
        ConfigError: no such method, or its library is missing.
    """
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"no map {method!r};", remedy=nearest(method, list(METHODS)))
        library, extra = _NEEDS.get(method, ("numpy", ""))
        if importlib.util.find_spec(library) is None:
            remedy = f"pip install 'unifusion-x[{extra}]', or take pca."
            raise ConfigError(f"a map by {method} needs {library}, which is not installed;", remedy=remedy)


def evenly(count: int, most: int) -> np.ndarray:
    """Numbers of at most `most` of `count` things, evenly from all of them."""
    return np.arange(count) if count <= most else np.arange(most) * count // most


def map_points(vectors_ND: np.ndarray, method: str, *, seed: int = 0) -> np.ndarray:
    """Put vectors onto a plane: float64 (N, 2).

    PCA keeps distances as far as two directions can. t-SNE (van der Maaten and Hinton 2008) and UMAP (McInnes et al. 2018) keep
    neighbours: of their pictures, sizes of clusters and distances between them say nothing.

    Args:
        vectors_ND: of length one; t-SNE and UMAP need at least five.
        method: pca, tsne (extra `eval`) or umap (package umap-learn).
        seed: of the methods that draw.

    Raises:
        ConfigError: no such method, its library is missing, or too few vectors.
    """
    check_maps([method])
    if len(vectors_ND) < (_FEWEST if method != "pca" else 1):
        raise ConfigError(f"a map by {method} of {len(vectors_ND)} vectors;", remedy=f"give at least {_FEWEST}, or take pca.")
    wide = np.asarray(vectors_ND, dtype=np.float64)
    if method == "pca":
        return _pca(wide)
    if method == "tsne":
        return _tsne(wide, seed)
    from umap import UMAP

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed costs threads
        init = _pca(wide).astype(np.float32)
        flat = UMAP(n_neighbors=min(15, len(wide) - 1), metric="cosine", init=init, random_state=seed).fit_transform(wide)
    return np.asarray(flat, np.float64)


def _tsne(vectors_ND: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE on one thread: with four on a busy machine, 500 points took 142 s where one takes 2."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(vectors_ND) - 1) / 3)
    with threadpool_limits(1):
        flat = TSNE(perplexity=perplexity, init=_pca(vectors_ND) * 1e-4, random_state=seed).fit_transform(vectors_ND)
    return np.asarray(flat, np.float64)


def _pca(vectors_ND: np.ndarray) -> np.ndarray:
    """The first two principal components; the largest weight of each direction is positive, so that the picture does not flip."""
    centred = vectors_ND - vectors_ND.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    directions = np.vstack([directions, np.zeros((2, vectors_ND.shape[1]))])[:2]
    signs = np.sign(directions[np.arange(2), np.abs(directions).argmax(axis=1)])
    return np.asarray(centred @ (directions * np.where(signs == 0, 1, signs)[:, None]).T)


def gaps(spaces: Mapping[str, Entries]) -> dict[str, Any]:
    """How spaces lie to each other.

    Returns:
        `spaces`: name -> `things`, and `mean_length`, the length of the mean vector: 0 where vectors point everywhere, 1 where all are
        equal (a collapsed or narrow space);
        `pairs`: `a`, `b`, `gap`, the distance of their means (the modality gap of Liang et al. 2022), from 0 to 2.
    """
    means = {name: entries.vectors_ND.astype(np.float64).mean(axis=0) for name, entries in spaces.items()}
    names = sorted(means)
    return {
        "spaces": {n: {"things": len(spaces[n]), "mean_length": float(np.linalg.norm(means[n]))} for n in names},
        "pairs": [
            {"a": a, "b": b, "gap": float(np.linalg.norm(means[a] - means[b]))} for i, a in enumerate(names) for b in names[i + 1 :]
        ],
    }  # fmt: skip


def similarity(rows: Entries, columns: Entries, labels: Sequence[str], *, most: int = 120) -> dict[str, Any]:
    """Cosines of the things of two spaces, item by item, sorted by label.

    Args:
        rows: a space.
        columns: another, or the same.
        labels: of the items; those without one come last.
        most: items, evenly from all.

    Returns:
        `rows`, `columns` (spaces), `labels` of the shown items, `names`, and `cosines`, a list of rows.
    """
    first = [{owners[0]: i for i, owners in reversed(list(enumerate(side.owners)))} for side in (rows, columns)]
    both = [item for item in first[0] if item in first[1]]
    both.sort(key=lambda item: (labels[item] == "", labels[item], item))
    shown = [both[i] for i in evenly(len(both), most)]
    left, right = ([side[item] for item in shown] for side in first)
    cosines = rows.vectors_ND[left].astype(np.float64) @ columns.vectors_ND[right].astype(np.float64).T
    return {
        "rows": rows.space, "columns": columns.space, "labels": [labels[item] for item in shown], "names": [rows.names[i] for i in left],
        "cosines": np.round(cosines, 4).tolist(),
    }  # fmt: skip
