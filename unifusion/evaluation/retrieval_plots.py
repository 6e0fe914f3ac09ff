"""Pictures of an embedding space: maps, similarity, cosines, recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.evaluation.drawing import BLUE, COLOURS, GREY, draw, label, whiskers
from unifusion.evaluation.page import Picture, number

__all__ = ["draw_cosines", "draw_map", "draw_recall", "draw_similarity"]

_MOST = len(COLOURS)
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def draw_map(points_N2: np.ndarray, names: Sequence[str], method: str, what: str, stem: Path) -> Picture:
    """Draw a map with a colour for each name.

    Args:
        points_N2: places.
        names: label or space of each point; "" for none. The rarest share one colour where there are more than ten.
        method: of the map.
        what: the points are, for the caption.
        stem: of the files.
    """
    often = [n for n, _ in sorted(((n, list(names).count(n)) for n in {*names} - {""}), key=lambda pair: (-pair[1], pair[0]))]
    shown = sorted(often[: _MOST - 1] if len(often) > _MOST else often)
    colour = {name: COLOURS[i] for i, name in enumerate(shown)}
    rest = "others" if any(n not in colour for n in names) else ""

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        size = float(np.clip(300 / np.sqrt(max(len(points_N2), 1)), 5, 30))
        for name in [*([rest] if rest else []), *shown]:
            own = np.array([n not in colour if name == rest else n == name for n in names])
            look = {"s": size, "color": colour.get(name, "#c3cad2"), "alpha": 0.75, "linewidths": 0, "rasterized": True}
            axes.scatter(*points_N2[own].T, label=label(name, 24), **look)
        axes.set(xticks=[], yticks=[], title=_TITLES[method])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", markerscale=1.4)

    path = draw(stem, (6.2, 4.4), paint)
    told = ", ".join(f"{n} ({list(names).count(n):,})" for n in shown)
    less = "" if method == "pca" else " Sizes of clusters and distances between them mean nothing on it; neighbours do."
    caption = f"{what}, by {_TITLES[method]}.{less}"
    return Picture(path=path, alt=f"Map of {len(points_N2):,} points by {_TITLES[method]}, coloured by {told}.", caption=caption)


def draw_similarity(told: Mapping[str, Any], stem: Path) -> Picture:
    """Draw cosines of items sorted by label; a good space has bright blocks, and a bright diagonal, on a dark ground."""
    cosines, labels = np.array(told["cosines"]), told["labels"]
    starts = [i for i in range(len(labels)) if i == 0 or labels[i] != labels[i - 1]]
    middles = [(a + b - 1) / 2 for a, b in zip(starts, [*starts[1:], len(labels)], strict=True)]
    titles = [label(labels[i]) or "–" for i in starts]
    ticked = len(starts) <= 30 and len(starts) > 1

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        image = axes.imshow(cosines, cmap="viridis", aspect="equal", interpolation="nearest")
        for start in starts[1:]:
            axes.axhline(start - 0.5, color="white", linewidth=0.5)
            axes.axvline(start - 0.5, color="white", linewidth=0.5)
        axes.set_yticks(middles if ticked else [], titles if ticked else [])
        axes.set_xticks(middles if ticked else [], titles if ticked else [], rotation=60, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0)
        axes.set(xlabel=told["columns"], ylabel=told["rows"])
        figure.colorbar(image, ax=axes, shrink=0.75, label="cosine")

    path = draw(stem, (6.0, 5.2), paint)
    own, others = float(np.diag(cosines).mean()), float(cosines.mean())
    alt = f"Cosines of {len(labels)} items, {told['rows']} by {told['columns']}: {number(own)} on the diagonal, {number(others)} overall."
    caption = f"Cosines between {told['rows']} (rows) and {told['columns']} (columns) of the same items, sorted by label."
    return Picture(path=path, alt=alt, caption=caption)


def draw_cosines(directions: Sequence[Mapping[str, Any]], stem: Path) -> Picture:
    """Draw how cosines of what belongs together and of what does not are spread, a panel a pair of spaces."""

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        for axes, one in zip(figure.subplots(len(directions), 1, squeeze=False)[:, 0], directions, strict=True):
            bins = one["cosines"]["bins"]
            edges = np.linspace(-1, 1, bins + 1)
            for name, colour in (("negative", GREY), ("positive", BLUE)):
                counts = np.array(one["cosines"][name]["counts"], float)
                if counts.sum():
                    axes.stairs(counts / counts.sum() * bins / 2, edges, fill=True, alpha=0.55, color=colour, label=_BELONG[name])
            axes.set(ylabel="density", xlim=_range(directions), title=f"{one['from']} and {one['to']}")
        axes.set(xlabel="cosine")
        figure.legend(*axes.get_legend_handles_labels(), ncols=2, loc="outside upper center")

    path = draw(stem, (6.0, 0.9 + 1.5 * len(directions)), paint)
    told = "; ".join(
        f"{d['from']} and {d['to']} {number(d['cosines']['positive']['mean'])} together, {number(d['cosines']['negative']['mean'])} apart"
        for d in directions
    )
    caption = "Cosines of pairs that belong together and of those that do not. The less they overlap, the better one threshold works."
    return Picture(path=path, alt=f"Histograms of cosines. Means: {told}.", caption=caption)


_BELONG = {"negative": "do not belong together", "positive": "belong together"}


def _range(directions: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The cosines that occur."""
    bins = directions[0]["cosines"]["bins"]
    there = [i for d in directions for name in _BELONG for i, n in enumerate(d["cosines"][name]["counts"]) if n]
    return min(there) * 2 / bins - 1 - 0.02, (max(there) + 1) * 2 / bins - 1 + 0.02


def draw_recall(directions: Sequence[Mapping[str, Any]], stem: Path) -> Picture:
    """Draw recall of each direction with intervals, and chance."""
    names = [n for n in directions[0]["figures"] if n.startswith("recall_at_")]

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        for i, one in enumerate(directions):
            for j, name in enumerate(names):
                f, place = one["figures"][name], i + 0.26 * (j - (len(names) - 1) / 2)
                axes.barh(place, f["value"], 0.24, color=COLOURS[j], label=f"R@{name.rpartition('_')[2]}" if i == 0 else None)
                axes.errorbar(f["value"], place, xerr=whiskers([f]), fmt="none", ecolor="#1a1f26", elinewidth=0.8, capsize=1.5)
                shown = "chance" if i == j == 0 else None
                axes.plot([f["chance"]] * 2, [place - 0.12, place + 0.12], color="#1a1f26", linewidth=1.2, linestyle=":", label=shown)
        axes.set_yticks(range(len(directions)), [f"{d['from']} → {d['to']}" for d in directions])
        axes.set(xlim=(0, 1.02), ylim=(len(directions) - 0.5, -0.5), xlabel="queries with something that belongs to them among the first")
        axes.grid(axis="x")
        figure.legend(*axes.get_legend_handles_labels(), ncols=len(names) + 1, loc="outside upper center")

    path = draw(stem, (6.2, 1.2 + 0.62 * len(directions)), paint)
    told = "; ".join(f"{d['from']} to {d['to']} {', '.join(number(d['figures'][n]['value']) for n in names)}" for d in directions)
    caption = "Recall of each direction with 95 % intervals; dotted lines are chance."
    return Picture(path=path, alt=f"Bars of recall at {', '.join(n.rpartition('_')[2] for n in names)}: {told}.", caption=caption)
