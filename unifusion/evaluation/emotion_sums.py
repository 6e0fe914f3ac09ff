"""Predictions as arrays, and the sums over examples from which every figure of emotion follows.

A figure of a resample is that of a weighted sum, so 2,000 resamples are one product of matrices. Shapes: S seeds, N examples, U units
(groups or examples) that are drawn, K labels, P sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.errors import DatasetError
from unifusion.evaluation.predictions import Prediction

__all__ = [
    "AFFECT", "BINS", "METRICS", "Columns", "columns", "confusion_of", "figures_of", "in_order", "labels_of", "rounded", "select",
    "sums_of",
]  # fmt: skip

METRICS: dict[str, str] = {
    "uar": "UAR", "accuracy": "accuracy (WAR)", "weighted_f1": "weighted F1", "macro_f1": "macro F1", "ece": "ECE",
    "ccc_valence": "CCC valence", "ccc_arousal": "CCC arousal", "mae_valence": "MAE valence", "mae_arousal": "MAE arousal",
    "mse_valence": "MSE valence", "mse_arousal": "MSE arousal",
}  # fmt: skip
"""Figure -> its name for people."""

AFFECT = ("valence", "arousal")
BINS = 15
"""Of confidence, as in `metrics.ece`."""
_MOMENTS = 8
"""Of each affect: n, x, y, xx, yy, xy, absolute and squared error."""
_FLAT = 1e-12
"""Variance below which a series is constant."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What one system said under one condition, S seeds of N examples.

    Attributes:
        ids, groups: of each example; an example without a group is a group of its own.
        seeds: in order.
        labels: K names, those among the truths.
        truth_N: number of the true label, -1 where there is none.
        answer_SN: number of the answered label, K for a label that is no truth of any example, K + 1 for no answer, -1 where this seed
            lacks the example.
        confidence_SN: probability of the answer, NaN where nothing was said.
        told_SN2, true_N2: valence and arousal, NaN where they are not there.
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: tuple[str, ...]
    truth_N: np.ndarray
    answer_SN: np.ndarray
    confidence_SN: np.ndarray
    told_SN2: np.ndarray
    true_N2: np.ndarray

    @property
    def has_labels(self) -> bool:
        """Whether any label was told of an example whose label is known."""
        said_SN = (self.answer_SN >= 0) & (self.answer_SN <= len(self.labels)) & (self.truth_N >= 0)
        return bool(said_SN.any())


def labels_of(rows: Sequence[Prediction]) -> tuple[str, ...]:
    """The labels among the truths, sorted: figures are pinned to them, whatever else is answered."""
    return tuple(sorted({r.truth for r in rows} - {""}))


def columns(rows: Sequence[Prediction], labels: Sequence[str]) -> Columns:
    """Lay the predictions of one split and condition out as arrays.

    Raises:
        DatasetError: an example is there twice in a seed, its truth or group differs between seeds, or a number is out of range.
    """
    place: dict[str, int] = {}
    first: list[Prediction] = []
    seeds = sorted({r.seed for r in rows})
    for r in rows:
        if r.id not in place:
            place[r.id] = len(first)
            first.append(r)
    n, k = len(first), len(labels)
    number, seed_at = {label: i for i, label in enumerate(labels)}, {s: i for i, s in enumerate(seeds)}
    answer, confidence = np.full((len(seeds), n), -1), np.full((len(seeds), n), np.nan)
    told = np.full((len(seeds), n, 2), np.nan)
    for r in rows:
        s, i = seed_at[r.seed], place[r.id]
        _check(r, first[i], twice=answer[s, i] >= 0)
        said = r.answer
        answer[s, i] = number.get(said, k) if r.probabilities else k + 1
        confidence[s, i] = r.probabilities[said] if r.probabilities else np.nan
        told[s, i] = [np.nan if v is None else v for v in (r.valence, r.arousal)]
    true = [[np.nan if v is None else v for v in (r.true_valence, r.true_arousal)] for r in first]
    return Columns(
        ids=tuple(place), groups=tuple(f"group {r.group}" if r.group else f"id {r.id}" for r in first), seeds=tuple(seeds),
        labels=tuple(labels), truth_N=np.array([number.get(r.truth, -1) for r in first]), answer_SN=answer, confidence_SN=confidence,
        told_SN2=told, true_N2=np.array(true, dtype=np.float64).reshape(n, 2),
    )  # fmt: skip


def _check(row: Prediction, first: Prediction, *, twice: bool) -> None:
    """Refuse a row that no figure can be made of."""
    where = f"prediction of {row.id!r} (condition {row.condition!r}, seed {row.seed})"
    if twice:
        raise DatasetError(f"{where} is there twice;", remedy="keep one line for each id, condition and seed.")
    if (row.truth, row.group, row.true_valence, row.true_arousal) != (first.truth, first.group, first.true_valence, first.true_arousal):
        raise DatasetError(f"{where}: truth or group is another one than in seed {first.seed};", remedy="give each example one truth.")
    if not all(0 <= p <= 1.0 + 1e-6 for p in row.probabilities.values()):
        raise DatasetError(f"{where}: probabilities {dict(row.probabilities)} are not shares;", remedy="give numbers from 0 to 1.")
    numbers = (row.valence, row.arousal, row.true_valence, row.true_arousal)
    if not all(v is None or np.isfinite(v) for v in numbers):
        raise DatasetError(f"{where}: valence or arousal among {numbers} is no number;", remedy="leave out what is not known.")


def select(told: Columns, ids: Sequence[str]) -> Columns:
    """The same for some of the examples, in their order."""
    place = {name: i for i, name in enumerate(told.ids)}
    at = np.array([place[i] for i in ids], dtype=int)
    return Columns(
        ids=tuple(ids), groups=tuple(told.groups[i] for i in at), seeds=told.seeds, labels=told.labels, truth_N=told.truth_N[at],
        answer_SN=told.answer_SN[:, at], confidence_SN=told.confidence_SN[:, at], told_SN2=told.told_SN2[:, at], true_N2=told.true_N2[at],
    )  # fmt: skip


def sums_of(told: Columns, unit_N: np.ndarray, units: int) -> np.ndarray:
    """Sums over the examples of each unit, (S, U, P): hits, truths and answers by label; gaps of confidence by bin; moments of affect."""
    k, seeds = len(told.labels), len(told.seeds)
    there_SN = (told.answer_SN >= 0) & (told.truth_N >= 0) & told.has_labels
    cell_SN = np.arange(seeds)[:, None] * units + unit_N
    truth_SN = np.broadcast_to(told.truth_N, told.answer_SN.shape)
    hit_SN = told.answer_SN == truth_SN

    def counted(mask_SN: np.ndarray, column_SN: np.ndarray, width: int, weights_SN: np.ndarray | None = None) -> np.ndarray:
        """Sums (S, U, width) of what is there."""
        weights = None if weights_SN is None else weights_SN[mask_SN]
        flat = np.bincount(cell_SN[mask_SN] * width + column_SN[mask_SN], weights=weights, minlength=seeds * units * width)
        return flat.reshape(seeds, units, width).astype(np.float64)

    sure_SN = there_SN & ~np.isnan(told.confidence_SN)
    confidence_SN = np.nan_to_num(told.confidence_SN)
    bin_SN = np.clip(np.ceil(confidence_SN * BINS).astype(int) - 1, 0, BINS - 1)
    parts = [
        counted(there_SN & hit_SN, truth_SN, k), counted(there_SN, truth_SN, k),
        counted(there_SN & (told.answer_SN < k), told.answer_SN, k),
        counted(sure_SN, bin_SN, BINS, hit_SN - confidence_SN), counted(sure_SN, np.zeros_like(bin_SN), 1),
    ]  # fmt: skip
    for d in range(2):
        x_SN, y_SN = told.told_SN2[:, :, d], np.broadcast_to(told.true_N2[:, d], told.answer_SN.shape)
        both_SN = ~np.isnan(x_SN) & ~np.isnan(y_SN)
        x_SN, y_SN = np.where(both_SN, x_SN, 0.0), np.where(both_SN, y_SN, 0.0)
        moments = (both_SN * 1.0, x_SN, y_SN, x_SN**2, y_SN**2, x_SN * y_SN, np.abs(x_SN - y_SN), (x_SN - y_SN) ** 2)
        parts += [counted(both_SN, np.zeros_like(bin_SN), 1, m) for m in moments]
    return np.concatenate(parts, axis=2)


def figures_of(sums: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Figures (..) of sums (.., P), NaN where there is nothing to make one of; `recall`, `precision` and `f1` are (.., K).

    Means over classes are over those with a true example; precision and F1 of a class that is never answered are 0, as in scikit-learn
    with `zero_division=0`. ECE as `metrics.ece`, CCC as `metrics.ccc`.
    """
    hits, truths, answers = sums[..., :k], sums[..., k : 2 * k], sums[..., 2 * k : 3 * k]
    there = truths > 0
    recall = np.where(there, _ratio(hits, truths), np.nan)
    f1 = np.where(there, np.nan_to_num(_ratio(2 * hits, truths + answers)), np.nan)
    precision = np.where(there, np.nan_to_num(_ratio(hits, answers)), np.nan)
    total, classes = truths.sum(-1), there.sum(-1)
    out = {
        "accuracy": _ratio(hits.sum(-1), total), "uar": _ratio(np.nan_to_num(recall).sum(-1), classes),
        "weighted_f1": _ratio((truths * np.nan_to_num(f1)).sum(-1), total), "macro_f1": _ratio(np.nan_to_num(f1).sum(-1), classes),
        "ece": _ratio(np.abs(sums[..., 3 * k : 3 * k + BINS]).sum(-1), sums[..., 3 * k + BINS]),
    }  # fmt: skip
    for d, name in enumerate(AFFECT):
        start = 3 * k + BINS + 1 + d * _MOMENTS
        n, x, y, xx, yy, xy, absolute, squared = np.moveaxis(sums[..., start : start + _MOMENTS], -1, 0)
        mean_x, mean_y = _ratio(x, n), _ratio(y, n)
        var_x, var_y = _ratio(xx, n) - mean_x**2, _ratio(yy, n) - mean_y**2
        ccc = _ratio(2 * (_ratio(xy, n) - mean_x * mean_y), var_x + var_y + (mean_x - mean_y) ** 2)
        flat = (var_x < _FLAT) | (var_y < _FLAT)
        out |= {f"ccc_{name}": np.where(n > 0, np.where(flat, 0.0, ccc), np.nan)}
        out |= {f"mae_{name}": _ratio(absolute, n), f"mse_{name}": _ratio(squared, n)}
    return out | {"recall": recall, "precision": precision, "f1": f1}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient, NaN where nothing is below."""
    empty = np.full(np.broadcast(above, below).shape, np.nan)
    return np.asarray(np.divide(above, below, out=empty, where=below > 0))


def confusion_of(told: Columns) -> np.ndarray:
    """Counts (K, K + 2) over all seeds: true label by answer, then answers that are no label, then none."""
    k = len(told.labels)
    truth_SN = np.broadcast_to(told.truth_N, told.answer_SN.shape)
    there_SN = (told.answer_SN >= 0) & (truth_SN >= 0) & told.has_labels
    return np.bincount(truth_SN[there_SN] * (k + 2) + told.answer_SN[there_SN], minlength=k * (k + 2)).reshape(k, k + 2)


def in_order(conditions: Iterable[str]) -> list[str]:
    """Conditions as a reader wants them: all, each stream alone, each one left out, then others."""

    def rank(name: str) -> tuple[int, str]:
        """Where a condition stands."""
        return (0 if name == "all" else 1 if name.startswith("only ") else 2 if name.startswith("without ") else 3, name)

    return sorted(conditions, key=rank)


def rounded(value: Any) -> float | None:
    """Six decimals, so that the last bits of a sum do not matter; None for what is no number."""
    return None if np.isnan(value) else round(float(value), 6) + 0.0
