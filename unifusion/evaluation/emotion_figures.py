"""Every figure of an emotion system from its predictions: per condition with intervals, by class, and what leaving a stream out costs.

Seeds: each figure is computed for each seed, then their mean and standard deviation are given; probabilities are never averaged over
seeds (that would be another system, an ensemble). Intervals are of the mean over the seeds, the same draw of groups in all of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from unifusion.errors import DatasetError
from unifusion.evaluation.emotion_pairs import compare_pair
from unifusion.evaluation.emotion_sums import (
    BINS,
    METRICS,
    Columns,
    columns,
    confusion_of,
    figures_of,
    in_order,
    labels_of,
    rounded,
    sums_of,
)
from unifusion.evaluation.emotion_units import TAILS, Draws, Units, units_of
from unifusion.evaluation.predictions import Prediction
from unifusion.metrics._resampling import holm

__all__ = ["condition_figures", "emotion_figures", "main_split"]

BY_CLASS = ("precision", "recall", "f1")


def emotion_figures(predictions: Sequence[Prediction], draws: Draws | None = None) -> dict[str, Any]:
    """Compute all figures.

    Args:
        predictions: of one system; any splits, conditions and seeds.
        draws: how resamples are made.

    Returns:
        `main_split`; `splits`: split -> `labels`, `conditions`: condition -> `examples`, `labelled` (those with a true label), `rows`,
        `groups`, `seeds`, `interval_over`, `metrics` (value, sd, low, high, by_seed), `classes`, `confusion`, `reliability`, `chance`,
        `majority`, `affect` (None where there are none), and `against` (loss against the condition `all`, with interval and p). Numbers
        are rounded to six decimals; what is undefined is None.

    Raises:
        DatasetError: no predictions, or some of which no figures can be made.
    """
    draws = draws or Draws()
    if not predictions:
        raise DatasetError("there are no predictions;", remedy="give at least one.")
    by_split: dict[str, list[Prediction]] = defaultdict(list)
    for row in predictions:
        by_split[row.split].append(row)
    splits = {name: _split(rows, draws) for name, rows in sorted(by_split.items())}
    return {"main_split": main_split(list(splits)), "draws": asdict(draws), "splits": splits}


def main_split(splits: Sequence[str]) -> str:
    """The split that a report is about: test, else val, else the last by name."""
    return next((name for name in ("test", "val") if name in splits), sorted(splits)[-1])


def _split(rows: Sequence[Prediction], draws: Draws) -> dict[str, Any]:
    """Figures of one split."""
    labels = labels_of(rows)
    by: dict[str, list[Prediction]] = defaultdict(list)
    for row in rows:
        by[row.condition].append(row)
    told = {name: columns(by[name], labels) for name in in_order(by)}
    conditions = {name: condition_figures(c, draws) for name, c in told.items()}
    reference = next(iter(told))
    against = {name: _against(told[reference], c, reference, draws) for name, c in told.items() if name != reference}
    _adjust(list(against.values()))
    for name, found in against.items():
        conditions[name]["against"] = found
    return {"labels": list(labels), "reference": reference, "conditions": conditions}


def condition_figures(told: Columns, draws: Draws) -> dict[str, Any]:
    """Figures of one system under one condition; see `emotion_figures`."""
    k, units = len(told.labels), units_of(told.groups)
    sums_SUP = sums_of(told, units.unit_N, len(units))
    by_seed = figures_of(sums_SUP.sum(1), k)
    drawn = _drawn(sums_SUP, units, k, draws)
    metrics = {}
    for name in METRICS:
        if not np.isnan(by_seed[name]).all():
            low, high = np.nanquantile(drawn[name], TAILS)
            if name == "ece":  # its draws lie above it, since rows drawn twice make bins look worse: the interval is moved back by that
                bias = np.nanmean(drawn[name]) - np.nanmean(by_seed[name])
                low, high = max(0.0, low - bias), max(0.0, high - bias)
            metrics[name] = {**_over_seeds(by_seed[name], told.seeds), "low": rounded(low), "high": rounded(high)}
    labelled = bool(told.has_labels)
    return {
        "examples": len(told.ids), "labelled": int((told.truth_N >= 0).sum()), "rows": int((told.answer_SN >= 0).sum()),
        "groups": units.groups, "seeds": list(told.seeds), "interval_over": units.drawn,
        "metrics": metrics, "classes": _classes(told, by_seed, drawn) if labelled else None,
        "confusion": _confusion(told) if labelled else None, "reliability": _reliability(told) if labelled else None,
        "chance": rounded(1 / int((np.bincount(told.truth_N[told.truth_N >= 0], minlength=k) > 0).sum())) if labelled else None,
        "majority": _majority(told) if labelled else None,
        "unanswered": int(((told.answer_SN == k + 1) & (told.truth_N >= 0)).sum()) if labelled else None,
        "affect": {"examples": n} if (n := int((~np.isnan(told.told_SN2 + told.true_N2)).all(2).any(0).sum())) else None,
    }  # fmt: skip


def _drawn(sums_SUP: np.ndarray, units: Units, k: int, draws: Draws) -> dict[str, np.ndarray]:
    """Each figure's mean over seeds in each resample: (R,), of classes (R, K)."""
    seeds, u, p = sums_SUP.shape
    flat_UX = np.ascontiguousarray(sums_SUP.transpose(1, 0, 2)).reshape(u, seeds * p)
    blocks = [figures_of((weights_RU @ flat_UX).reshape(-1, seeds, p), k) for weights_RU in units.weights(draws)]
    return {name: _mean(np.concatenate([b[name] for b in blocks]), axis=1) for name in blocks[0]}


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean of what is a number, NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis)
    mean: np.ndarray = np.where(count > 0, np.nan_to_num(values).sum(axis) / np.maximum(count, 1), np.nan)
    return mean


def _over_seeds(values_S: np.ndarray, seeds: Sequence[int]) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) of a figure over the seeds that have one, and each seed's."""
    known = values_S[~np.isnan(values_S)]
    sd = rounded(known.std(ddof=1)) if len(known) > 1 else None
    return {"value": rounded(known.mean()), "sd": sd, "by_seed": {str(s): rounded(v) for s, v in zip(seeds, values_S, strict=True)}}


def _classes(told: Columns, by_seed: Mapping[str, Any], drawn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support (examples) of each label with a true example."""
    support_K = np.bincount(told.truth_N[told.truth_N >= 0], minlength=len(told.labels))
    out = []
    for i, label in enumerate(told.labels):
        if not support_K[i]:
            continue
        found: dict[str, Any] = {"label": label, "support": int(support_K[i])}
        for name in BY_CLASS:
            low, high = np.nanquantile(drawn[name][:, i], TAILS)
            mean = _mean(by_seed[name][:, i], axis=0)
            found[name] = {"value": rounded(mean), "low": rounded(low), "high": rounded(high)}
        out.append(found)
    return out


def _confusion(told: Columns) -> dict[str, Any]:
    """Counts over all seeds, and the share of each true label; columns for answers that are no label stand only where there are any."""
    counts = confusion_of(told)
    k = len(told.labels)
    extra = [i for i in (k, k + 1) if counts[:, i].any()]
    kept = counts[:, [*range(k), *extra]]
    shares = kept / np.maximum(kept.sum(1, keepdims=True), 1)
    beside = {k: "(another label)", k + 1: "(no answer)"}
    return {
        "labels": list(told.labels), "answers": [*told.labels, *(beside[i] for i in extra)], "counts": kept.tolist(),
        "shares": [[rounded(v) for v in row] for row in shares],
    }  # fmt: skip


def _reliability(told: Columns) -> list[dict[str, Any]]:
    """Bins of confidence, (low, high], with the rows of all seeds in them."""
    there_SN = (told.answer_SN >= 0) & (told.truth_N >= 0) & ~np.isnan(told.confidence_SN)
    confidence, right = told.confidence_SN[there_SN], (told.answer_SN == told.truth_N)[there_SN]
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    out = []
    for b in range(BINS):
        own, edges = bins == b, {"low": rounded(b / BINS), "high": rounded((b + 1) / BINS)}
        means = {"confidence": rounded(confidence[own].mean()), "accuracy": rounded(right[own].mean())} if own.any() else {}
        out.append({**edges, "count": int(own.sum()), **(means or {"confidence": None, "accuracy": None})})
    return out


def _majority(told: Columns) -> dict[str, Any]:
    """What always answering the most frequent label (the first of equals by name) gives."""
    truths = told.truth_N[told.truth_N >= 0]
    counts = Counter(truths.tolist())
    best = min(counts, key=lambda i: (-counts[i], i))
    share = counts[best] / len(truths)
    f1 = 2 * share / (1 + share)
    figures = {"accuracy": share, "uar": 1 / len(counts), "weighted_f1": share * f1, "macro_f1": f1 / len(counts)}
    return {"label": told.labels[best], **{name: rounded(v) for name, v in figures.items()}}


def _against(reference: Columns, told: Columns, name: str, draws: Draws) -> dict[str, Any]:
    """What a condition loses against the reference on the examples of both."""
    pair = compare_pair(reference, told, draws)
    metrics = {
        m: {"loss": rounded(d.difference), "low": rounded(d.low), "high": rounded(d.high), "p": rounded(d.p),
            "p_bootstrap": rounded(d.p_bootstrap)}
        for m, d in pair.tested.items()
    }  # fmt: skip
    return {"reference": name, "examples": pair.examples, "groups": pair.groups, "swapped": pair.swapped, "metrics": metrics}


def _adjust(tests: Sequence[dict[str, Any]]) -> None:
    """Add Holm-adjusted p-values over the conditions, for each metric."""
    for metric in METRICS:
        own = [t["metrics"][metric] for t in tests if metric in t["metrics"]]
        for found, p in zip(own, holm([f["p"] for f in own]), strict=True):
            found["p_holm"] = rounded(p)
