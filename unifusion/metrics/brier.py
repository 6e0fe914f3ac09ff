"""Brier score: squared error of probabilities."""

from __future__ import annotations

import numpy as np

from unifusion.metrics._calibration import probabilities_of

__all__ = ["brier"]


def brier(probabilities_NV: np.ndarray, targets_N: np.ndarray, *, halved: bool = False) -> float:
    """Mean over rows of the sum over classes of (probability - 1 where true, 0 else)^2 (Brier 1950); 0 is best, 2 worst.

    | input | shape | meaning |
    |---|---|---|
    | `probabilities_NV` | (N, V) | rows sum to 1 |
    | `targets_N` | (N,) | indices of the true class |
    | `halved` | | from 0 to 1: of two classes the form that is told of one of them; sklearn's `scale_by_half` |

    Raises:
        ConfigError: shapes do not fit, a target is no class, or the rows are not probabilities.
    """
    probabilities, targets = probabilities_of(probabilities_NV, targets_N, "brier")
    errors = (probabilities - np.eye(probabilities.shape[1])[targets]) ** 2
    return float(errors.sum(axis=1).mean()) / (2 if halved else 1)
