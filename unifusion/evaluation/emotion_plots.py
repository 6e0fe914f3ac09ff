"""Pictures of a report on emotion: confusion, classes, reliability, left-out streams, valence and arousal, seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.evaluation.drawing import BLUE, COLOURS, GREY, draw, label, whiskers
from unifusion.evaluation.emotion_sums import AFFECT, METRICS
from unifusion.evaluation.emotion_words import between, primary
from unifusion.evaluation.page import Picture, number
from unifusion.evaluation.predictions import Prediction

__all__ = ["draw_report"]

_MOST = 20
"""Labels above which cells of a confusion have no numbers in them."""
_SEEDED = ("uar", "accuracy", "weighted_f1", "macro_f1", "ece", "ccc_valence", "ccc_arousal")


def draw_report(split: Mapping[str, Any], rows: Sequence[Prediction], folder: Path) -> dict[str, Picture]:
    """Draw all that the figures of a split have something for.

    Args:
        split: as `emotion_figures` gives it.
        rows: the predictions of its reference condition.
        folder: that the pictures go into.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole, conditions = split["conditions"][split["reference"]], split["conditions"]
    pictures = {}
    if whole["classes"]:
        pictures["confusion"] = _confusion(whole["confusion"], folder)
        pictures["classes"] = _classes(whole["classes"], folder)
    if whole["classes"] and "ece" in whole["metrics"]:
        pictures["reliability"] = _reliability(whole, folder)
    if len(conditions) > 1 and whole["metrics"]:
        pictures["conditions"] = _conditions(conditions, whole, folder)
    if whole["affect"]:
        points = _affect(rows)
        pictures["affect"] = _scatter(whole, points, folder)
        if not np.isnan(points[2]).any(1).all():
            pictures["circumplex"] = _circumplex(points, folder)
    if len(whole["seeds"]) > 1 and whole["metrics"]:
        pictures["seeds"] = _seeds(whole, folder)
    return pictures


def _confusion(told: Mapping[str, Any], folder: Path) -> Picture:
    """Shares of each true label as colours, counts in the cells."""
    shares, counts = np.array(told["shares"], float), told["counts"]
    height, width = shares.shape

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal" if width - height < 3 else "auto")
        axes.set_xticks(range(width), [label(a) for a in told["answers"]], rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(height), [label(a) for a in told["labels"]])
        axes.set(xlabel="answered", ylabel="true")
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        for i, j in np.ndindex(height, width) if width <= _MOST else ():
            colour = "white" if shares[i, j] > 0.55 else "#1a1f26"
            axes.text(j, i - 0.1, number(float(shares[i, j])), ha="center", va="center", color=colour, fontsize=8.5)
            axes.text(j, i + 0.24, f"{counts[i][j]:,}", ha="center", va="center", color=colour, fontsize=6)
        figure.colorbar(image, ax=axes, shrink=0.75, label="share of the true label")

    size = (max(3.6, 1.9 + 0.55 * width), max(2.8, 1.2 + 0.55 * height)) if width <= _MOST else (8.0, 7.0)
    path = draw(folder / "confusion", size, paint)
    right = ", ".join(f"{a} {number(float(shares[i, i]))}" for i, a in enumerate(told["labels"]))
    caption = "Confusion matrix: the share of each true label (rows) by answer (columns), counts below."
    return Picture(path=path, alt=f"Confusion matrix. Recall by label: {right}.", caption=caption)


def _classes(classes: Sequence[Mapping[str, Any]], folder: Path) -> Picture:
    """Precision, recall and F1 of each label with intervals."""

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        for offset, (name, colour) in enumerate(zip(("precision", "recall", "f1"), ("#9cc3e0", BLUE, COLOURS[1]), strict=True)):
            places = np.arange(len(classes)) + 0.27 * (offset - 1)
            figures = [c[name] for c in classes]
            heights = [f["value"] for f in figures]
            title = "F1" if name == "f1" else name
            axes.bar(places, heights, 0.25, color=colour, label=title)
            axes.errorbar(places, heights, whiskers(figures), fmt="none", ecolor="#1a1f26", elinewidth=0.8, capsize=1.5)
        axes.set_xticks(range(len(classes)), [f"{label(c['label'])}\n{c['support']:,}" for c in classes])
        axes.set(ylim=(0, 1.02), xlim=(-0.6, len(classes) - 0.4))
        axes.grid(axis="y")
        figure.legend(*axes.get_legend_handles_labels(), ncols=3, loc="outside upper center")

    path = draw(folder / "classes", (min(14.0, max(3.6, 1.2 + 0.85 * len(classes))), 3.0), paint)
    told = "; ".join(f"{c['label']} {between(c['f1'])}" for c in classes)
    caption = "Precision, recall and F1 of each label with 95 % intervals; below each its true examples."
    return Picture(path=path, alt=f"Bars by label. F1: {told}.", caption=caption)


def _reliability(whole: Mapping[str, Any], folder: Path) -> Picture:
    """Accuracy against confidence, and how many answers were how sure."""
    bins = [b for b in whole["reliability"] if b["count"]]
    width = whole["reliability"][0]["high"]
    centres = [(b["low"] + b["high"]) / 2 for b in bins]

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
        upper.bar(centres, [b["accuracy"] for b in bins], width * 0.94, color="#9cc3e0", label="accuracy")
        gaps = [(min(b["accuracy"], b["confidence"]), abs(b["confidence"] - b["accuracy"])) for b in bins]
        upper.bar(centres, [g[1] for g in gaps], width * 0.94, bottom=[g[0] for g in gaps], color=COLOURS[1], alpha=0.55, label="gap")
        upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"ECE {between(whole['metrics']['ece'])}")
        upper.legend(loc="upper left")
        lower.bar(centres, [b["count"] for b in bins], width * 0.94, color=GREY)
        lower.set(xlabel="confidence of the answer", ylabel="answers")

    path = draw(folder / "reliability", (3.6, 4.0), paint)
    told = "; ".join(f"{number(b['confidence'])} sure, {number(b['accuracy'])} right ({b['count']:,})" for b in bins)
    caption = "Reliability: how often answers are right against how sure they are; on the dashed line both agree."
    return Picture(path=path, alt=f"Reliability diagram. {told}.", caption=caption)


def _conditions(conditions: Mapping[str, Any], whole: Mapping[str, Any], folder: Path) -> Picture:
    """The main figure, and CCC, under each condition."""
    wanted = [m for m in dict.fromkeys((primary(whole), "ccc_valence", "ccc_arousal")) if m in whole["metrics"]]
    names = list(conditions)

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        panels = figure.subplots(1, len(wanted), squeeze=False, sharey=True)[0]
        for axes, metric in zip(panels, wanted, strict=True):
            for i, name in enumerate(names):
                figures = conditions[name]["metrics"].get(metric)
                if figures is None:
                    axes.text(0.02, i, "not told", va="center", color=GREY, fontsize=8)
                    continue
                axes.barh(i, figures["value"], 0.62, color=BLUE if i == 0 else "#9cc3e0")
                axes.errorbar(figures["value"], i, xerr=whiskers([figures]), fmt="none", ecolor="#1a1f26", elinewidth=0.9, capsize=2)
                edge = max(figures["high"], figures["value"], 0.0)
                axes.text(edge + 0.02, i, number(figures["value"]), va="center", fontsize=8)
            if metric == "uar" and whole["chance"] is not None:
                axes.axvline(whole["chance"], color=COLOURS[1], linestyle="--", linewidth=1)
                axes.text(whole["chance"] + 0.015, -0.45, "chance", color=COLOURS[1], fontsize=7.5, va="bottom")
            lows = [c["metrics"][metric]["low"] for c in conditions.values() if metric in c["metrics"]]
            axes.set(xlabel=METRICS[metric], xlim=(min([0.0, *lows]) - (0.03 if min(lows) < 0 else 0), 1.14))
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
            axes.set_yticks(range(len(names)), [label(n, 26) for n in names])
            axes.set_ylim(len(names) - 0.5, -0.75)
            axes.grid(axis="x")

    path = draw(folder / "conditions", (1.5 + 2.9 * len(wanted), 1.0 + 0.36 * len(names)), paint)
    told = "; ".join(f"{n} {between(c['metrics'][wanted[0]])}" for n, c in conditions.items() if wanted[0] in c["metrics"])
    caption = "What is left where streams are missing, with 95 % intervals."
    return Picture(path=path, alt=f"Bars by condition. {METRICS[wanted[0]]}: {told}.", caption=caption)


def _affect(rows: Sequence[Prediction]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Labels, told (N, 2) and true (N, 2) valence and arousal by example, told ones as means over seeds."""
    by: dict[str, list[Prediction]] = defaultdict(list)
    for row in rows:
        by[row.id].append(row)
    numbers = [[[np.nan if v is None else v for v in (r.valence, r.arousal)] for r in own] for own in by.values()]
    told = np.array([np.mean(own, axis=0) for own in numbers])
    true = np.array([[np.nan if v is None else v for v in (o[0].true_valence, o[0].true_arousal)] for o in by.values()], float)
    return [own[0].truth for own in by.values()], told, true


def _scatter(whole: Mapping[str, Any], points: tuple[list[str], np.ndarray, np.ndarray], folder: Path) -> Picture:
    """Told against true, a panel each."""
    _, told, true = points
    shown = [d for d, name in enumerate(AFFECT) if f"ccc_{name}" in whole["metrics"]]
    titles = [f"{AFFECT[d]}: CCC {between(whole['metrics'][f'ccc_{AFFECT[d]}'])}" for d in shown]

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        for axes, d, title in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, titles, strict=True):
            axes.plot([-1, 1], [-1, 1], "--", color=GREY, linewidth=1)
            axes.scatter(true[:, d], told[:, d], s=9, color=BLUE, alpha=_alpha(len(told)), linewidths=0, rasterized=True)
            axes.set(xlim=(-1.05, 1.05), ylim=(-1.05, 1.05), xlabel=f"true {AFFECT[d]}", ylabel=f"told {AFFECT[d]}", title=title)
            axes.set_aspect("equal")
            axes.grid()

    path = draw(folder / "affect", (0.6 + 3.1 * len(shown), 3.4), paint)
    caption = "Told against true valence and arousal, one point an example (mean over seeds); on the dashed line both agree."
    return Picture(path=path, alt=f"Scatter plots. {'; '.join(titles)}.", caption=caption)


def _circumplex(points: tuple[list[str], np.ndarray, np.ndarray], folder: Path) -> Picture:
    """The plane of valence and arousal: an arrow from the true to the told mean of each label, or of all."""
    labels, told, true = points
    known = ~np.isnan(told + true).any(1)
    names = sorted({a for a, k in zip(labels, known, strict=True) if k})
    own = {a: known & np.array([b == a for b in labels]) for a in names}
    beside = "no label" if len(names) > 1 else "all"

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        for value in (axes.axhline, axes.axvline):
            value(0, color=GREY, linewidth=0.8)
        turn = np.linspace(0, 2 * np.pi, 200)
        axes.plot(np.cos(turn), np.sin(turn), color="#d8dde3", linewidth=1)
        for i, name in enumerate(names):
            colour, of = COLOURS[i % len(COLOURS)], own[name]
            axes.scatter(*told[of].T, s=7, color=colour, alpha=0.5 * _alpha(len(told)), linewidths=0, rasterized=True)
            start, end = true[of].mean(0), told[of].mean(0)
            axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0})
            axes.plot(*start, "o", markersize=6, markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.4)
            axes.plot(*end, "o", markersize=6, color=colour, label=label(name) or beside)
        axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), xlabel="valence", ylabel="arousal")
        axes.set_aspect("equal")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")

    path = draw(folder / "circumplex", (5.0, 3.9), paint)
    means = "; ".join(f"{a or beside} true {_point(true[own[a]])} told {_point(told[own[a]])}" for a in names)
    caption = "Valence and arousal: each arrow goes from the true mean of a label (ring) to the told one (dot); small dots are examples."
    return Picture(path=path, alt=f"Circumplex of means, valence and arousal: {means}.", caption=caption)


def _point(points: np.ndarray) -> str:
    """A mean point in words."""
    return " and ".join(number(float(v)) for v in points.mean(0))


def _alpha(count: int) -> float:
    """Fainter points where there are many."""
    return float(np.clip(25 / np.sqrt(max(count, 1)), 0.12, 0.8))


def _seeds(whole: Mapping[str, Any], folder: Path) -> Picture:
    """Each seed's figure beside the mean."""
    wanted = [m for m in _SEEDED if m in whole["metrics"]]

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        for i, metric in enumerate(wanted):
            figures = whole["metrics"][metric]
            values = [v for v in figures["by_seed"].values() if v is not None]
            axes.errorbar(i, figures["value"], whiskers([figures]), fmt="none", ecolor="#c3cad2", elinewidth=5)
            axes.plot(
                i + np.linspace(-0.13, 0.13, len(values)), values, "o", color=BLUE, markersize=4.5, label="a seed" if i == 0 else None
            )
            axes.plot([i - 0.25, i + 0.25], [figures["value"]] * 2, color=COLOURS[1], linewidth=1.6, label="mean" if i == 0 else None)
        axes.set_xticks(range(len(wanted)), [METRICS[m].replace(" ", "\n", 1) for m in wanted])
        axes.set_xlim(-0.6, len(wanted) - 0.4)
        axes.grid(axis="y")
        figure.legend(*axes.get_legend_handles_labels(), ncols=2, loc="outside upper center")

    path = draw(folder / "seeds", (1.2 + 0.95 * len(wanted), 3.1), paint)
    told = "; ".join(f"{METRICS[m]} {number(whole['metrics'][m]['value'])} (sd {number(whole['metrics'][m]['sd'])})" for m in wanted)
    caption = f"{len(whole['seeds'])} seeds: each seed's figure, the mean, and its 95 % interval over examples (grey)."
    return Picture(path=path, alt=f"Seeds. {told}.", caption=caption)
