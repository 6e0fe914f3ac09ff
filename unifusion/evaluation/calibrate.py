"""Fitting a task's temperature and abstention threshold on answers to data that nothing was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unifusion.errors import ConfigError
from unifusion.metrics.ece import ece
from unifusion.metrics.risk_coverage import risk_coverage

__all__ = ["calibrate", "calibration_table", "fit_temperature", "measure_calibration"]

_GOLDEN = (5**0.5 - 1) / 2
_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(logits: Sequence[np.ndarray], targets: Sequence[int]) -> float:
    """Return the temperature, 0.05 to 20, that makes the true labels likeliest (Guo et al. 2017).

    Args:
        logits: one array of log-likelihoods (V,) a row; V may differ from row to row.
        targets: index of the true label of each.

    The mean log-likelihood is concave in 1 / temperature, so a golden-section search over it finds the best one.

    Raises:
        ConfigError: no rows, or not as many targets.
    """
    if not len(logits) or len(logits) != len(targets):
        raise ConfigError(f"{len(logits)} rows and {len(targets)} targets;", remedy="give one target for each row, at least one.")

    def loss(inverse: float) -> float:
        scaled = [row * inverse for row in logits]
        return float(np.mean([np.logaddexp.reduce(row) - row[t] for row, t in zip(scaled, targets, strict=True)]))

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-4:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = loss(b)
    return round(2 / (low + high), 4)


def calibrate(records: Sequence[Mapping[str, Any]], *, coverage: float = 0.8) -> dict[str, float]:
    """Fit one task on its predictions.

    Args:
        records: `log_probs` (label -> log-likelihood) and `truth` of each row.
        coverage: share of the rows that shall be answered; the threshold is the highest that answers so many.

    Returns:
        `temperature` and `threshold`, as a checkpoint's config holds them.
    """
    logits, targets = _logits(records)
    temperature = fit_temperature(logits, targets)
    curve = _curve([_softmax(row / temperature) for row in logits], targets)
    threshold = next(t for t, c in zip(curve["threshold"], curve["coverage"], strict=True) if c >= coverage)
    return {"temperature": temperature, "threshold": round(threshold - 5e-5, 4)}


def measure_calibration(records: Sequence[Mapping[str, Any]], temperature: float, threshold: float) -> dict[str, Any]:
    """What a fitted task gains on other rows.

    Args:
        records: as `calibrate` takes them.
        temperature: the fitted one.
        threshold: below which it abstains.

    Returns:
        `ece_before`, `ece_after`, `coverage` and `risk` at the threshold, `risk_of_all`, and the `risk_coverage` curve.
    """
    logits, targets = _logits(records)
    after = [_softmax(row / temperature) for row in logits]
    right = np.array([int(p.argmax()) == t for p, t in zip(after, targets, strict=True)])
    given = np.array([p.max() >= threshold for p in after])
    return {
        "temperature": temperature, "threshold": threshold, "ece_before": _ece([_softmax(row) for row in logits], targets),
        "ece_after": _ece(after, targets), "coverage": float(given.mean()), "risk": float(1 - right[given].mean()) if given.any() else 0.0,
        "risk_of_all": float(1 - right.mean()), "risk_coverage": _curve(after, targets),
    }  # fmt: skip


def calibration_table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """What was fitted and what it gains as a Markdown table, a line a task."""
    columns = ("task", "temperature", "ECE before", "ECE after", "threshold", "answered", "wrong of those", "wrong of all")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for task, c in tasks.items():
        numbers = (c["temperature"], c["ece_before"], c["ece_after"], c["threshold"], c["coverage"], c["risk"], c["risk_of_all"])
        lines.append(f"| {task} | " + " | ".join(f"{n:.3f}" for n in numbers) + " |")
    return "\n".join(lines)


def _logits(records: Sequence[Mapping[str, Any]]) -> tuple[list[np.ndarray], list[int]]:
    """Log-likelihoods of each row's labels, and the index of the true one."""
    return [np.array(list(r["log_probs"].values())) for r in records], [list(r["log_probs"]).index(r["truth"]) for r in records]


def _softmax(row: np.ndarray) -> np.ndarray:
    """Probabilities of one row."""
    chances: np.ndarray = np.exp(row - np.logaddexp.reduce(row))
    return chances


def _curve(chances: Sequence[np.ndarray], targets: Sequence[int]) -> dict[str, list[float]]:
    """Risk against coverage of the likeliest labels."""
    return risk_coverage([p.max() for p in chances], [int(p.argmax()) == t for p, t in zip(chances, targets, strict=True)])


def _ece(chances: Sequence[np.ndarray], targets: Sequence[int]) -> float:
    """ECE of rows that may have different numbers of labels: the top label alone counts."""
    width = max(map(len, chances))
    padded = np.array([np.pad(p, (0, width - len(p))) for p in chances])
    return ece(padded / padded.sum(1, keepdims=True), np.array(targets))
