"""Calibration error of every class, not of the likeliest one alone."""

from __future__ import annotations

import numpy as np

from unifusion.errors import ConfigError
from unifusion.metrics._calibration import probabilities_of

__all__ = ["classwise_ece"]


def classwise_ece(probabilities_NV: np.ndarray, targets_N: np.ndarray, *, n_bins: int = 15) -> float:
    """Mean over classes and rows of |share of the class - mean probability| of their bin (Kull et al. 2019; equally wide bins).

    `ece` looks at the likeliest class of each row; a model that is right there may still tell the others too often or too seldom.

    | input | shape | meaning |
    |---|---|---|
    | `probabilities_NV` | (N, V) | rows sum to 1 |
    | `targets_N` | (N,) | indices of the true class |
    | `n_bins` | | bins over a class's probability, each (low, high], 0 in the first |

    Raises:
        ConfigError: shapes do not fit, a target is no class, the rows are not probabilities, or there is no bin.
    """
    probabilities, targets = probabilities_of(probabilities_NV, targets_N, "classwise_ece")
    if n_bins < 1:
        raise ConfigError(f"classwise_ece with {n_bins} bins;", remedy="give 1 or more; papers take 15.")
    rows, classes = probabilities.shape
    bin_NV = np.clip(np.ceil(probabilities * n_bins).astype(int) - 1, 0, n_bins - 1) + n_bins * np.arange(classes)
    gaps = np.bincount(bin_NV.ravel(), weights=(np.eye(classes)[targets] - probabilities).ravel(), minlength=n_bins * classes)
    return float(np.abs(gaps).sum() / rows / classes)
