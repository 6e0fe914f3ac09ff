"""Fitting a task's temperature, biases and abstention threshold on answers to data that nothing was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unifusion.errors import ConfigError
from unifusion.metrics.ece import ece
from unifusion.metrics.risk_coverage import risk_coverage

__all__ = ["calibrate", "calibration_table", "fit_scaling", "measure_calibration"]

_LOWEST, _HIGHEST = 0.05, 20.0


def fit_scaling(records: Sequence[Mapping[str, Any]], *, deviation: float = 0.25) -> tuple[float, dict[str, float]]:
    """Fit what makes the true labels likeliest: log-likelihoods over a temperature, plus a bias a label (vector scaling, Guo et al. 2017).

    Args:
        records: `log_probs` (label -> log-likelihood; labels may differ from row to row) and `truth` of each row; rows of one `probe`
            count as much in all as those of another.
        deviation: of the normal distribution around 0 that biases are held to, so that few rows hardly move them; 0 for none at all.

    Returns:
        The temperature, 0.05 to 20, and label -> bias.

    Raises:
        ConfigError: no rows.
    """
    if not records:
        raise ConfigError("there is nothing to fit on;", remedy="give at least one row.")
    labels = sorted({label for r in records for label in r["log_probs"]})
    rows = torch.tensor([[r["log_probs"].get(label, torch.nan) for label in labels] for r in records], dtype=torch.float64)
    offered, rows = ~rows.isnan(), rows.nan_to_num()
    targets = torch.tensor([labels.index(r["truth"]) for r in records])
    counts = Counter(r.get("probe") for r in records)
    weights = torch.tensor([len(records) / len(counts) / counts[r.get("probe")] for r in records], dtype=torch.float64)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(len(labels), dtype=torch.float64, requires_grad=deviation > 0)
    fitted = [log_temperature, *([biases] if deviation else [])]
    optimizer = torch.optim.LBFGS(fitted, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        """What is made small: what the true labels lack, and how far the biases go."""
        optimizer.zero_grad()
        scaled = (rows / _bounded(log_temperature) + biases).masked_fill(~offered, -torch.inf)
        total = (weights * torch.nn.functional.cross_entropy(scaled, targets, reduction="none")).sum()
        if deviation:
            total = total + ((biases / deviation) ** 2).sum() / 2
        total.backward()
        return total

    optimizer.step(loss)
    found = {label: round(bias, 4) for label, bias in zip(labels, biases.tolist(), strict=True)} if deviation else {}
    return round(_bounded(log_temperature).item(), 4), found


def _bounded(log_temperature: Tensor) -> Tensor:
    """The temperature within its bounds."""
    return log_temperature.exp().clamp(_LOWEST, _HIGHEST)


def calibrate(records: Sequence[Mapping[str, Any]], *, coverage: float = 0.8) -> dict[str, Any]:
    """Fit one task on its predictions.

    Args:
        records: as `fit_scaling` takes them.
        coverage: share of the rows that shall be answered; the threshold is the highest that answers so many.

    Returns:
        `temperature`, `biases` and `threshold`, as a checkpoint's config holds them.
    """
    temperature, biases = fit_scaling(records)
    curve = _curve(*_chances(records, temperature, biases))
    threshold = next(t for t, c in zip(curve["threshold"], curve["coverage"], strict=True) if c >= coverage)
    return {"temperature": temperature, "biases": biases, "threshold": round(threshold - 5e-5, 4)}


def measure_calibration(
    records: Sequence[Mapping[str, Any]], temperature: float, threshold: float, biases: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """What a fitted task gains on other rows.

    Args:
        records: as `calibrate` takes them.
        temperature: the fitted one.
        threshold: below which it abstains.
        biases: the fitted ones.

    Returns:
        `ece_before`, `ece_after`, `coverage` and `risk` at the threshold, `risk_of_all`, `risk_before` (of all, nothing fitted), and
        the `risk_coverage` curve.
    """
    before, targets = _chances(records)
    after, _ = _chances(records, temperature, biases)
    right = np.array([int(p.argmax()) == t for p, t in zip(after, targets, strict=True)])
    given = np.array([p.max() >= threshold for p in after])
    return {
        "temperature": temperature, "biases": dict(biases or {}), "threshold": threshold, "ece_before": _ece(before, targets),
        "risk_before": float(np.mean([p.argmax() != t for p, t in zip(before, targets, strict=True)])),
        "ece_after": _ece(after, targets), "coverage": float(given.mean()), "risk": float(1 - right[given].mean()) if given.any() else 0.0,
        "risk_of_all": float(1 - right.mean()), "risk_coverage": _curve(after, targets),
    }  # fmt: skip


def calibration_table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """What was fitted and what it gains as a Markdown table, a line a task."""
    columns = ("task", "temperature", "ECE before", "ECE after", "threshold", "answered", "wrong of those", "wrong of all", "before")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for task, c in tasks.items():
        keys = ("temperature", "ece_before", "ece_after", "threshold", "coverage", "risk", "risk_of_all", "risk_before")
        numbers = [c[key] for key in keys]
        lines.append(f"| {task} | " + " | ".join(f"{n:.3f}" for n in numbers) + " |")
    return "\n".join(lines)


def _chances(
    records: Sequence[Mapping[str, Any]], temperature: float = 1.0, biases: Mapping[str, float] | None = None
) -> tuple[list[np.ndarray], list[int]]:
    """Probabilities of each row's labels, and the index of the true one."""
    rows = [np.array([v / temperature + (biases or {}).get(k, 0.0) for k, v in r["log_probs"].items()]) for r in records]
    return [np.exp(row - np.logaddexp.reduce(row)) for row in rows], [list(r["log_probs"]).index(r["truth"]) for r in records]


def _curve(chances: Sequence[np.ndarray], targets: Sequence[int]) -> dict[str, list[float]]:
    """Risk against coverage of the likeliest labels."""
    return risk_coverage([p.max() for p in chances], [int(p.argmax()) == t for p, t in zip(chances, targets, strict=True)])


def _ece(chances: Sequence[np.ndarray], targets: Sequence[int]) -> float:
    """ECE of rows that may have different numbers of labels: the top label alone counts."""
    width = max(map(len, chances))
    padded = np.array([np.pad(p, (0, width - len(p))) for p in chances])
    return ece(padded / padded.sum(1, keepdims=True), np.array(targets))
