"""Expected calibration error."""

from __future__ import annotations

import numpy as np

from unifusion.errors import ConfigError
from unifusion.metrics._calibration import probabilities_of

__all__ = ["ece"]


def ece(probabilities_NV: np.ndarray, targets_N: np.ndarray, *, n_bins: int = 15) -> float:
    """Mean over predictions of |accuracy - confidence| of their bin (Guo et al. 2017; top label, equally wide bins).

    | input | shape | meaning |
    |---|---|---|
    | `probabilities_NV` | (N, V) | rows sum to 1 |
    | `targets_N` | (N,) | indices of the true class |
    | `n_bins` | | bins over the confidence, each (low, high] |

    Raises:
        ConfigError: shapes do not fit, a target is no class, the rows are not probabilities, or there is no bin.
    """
    probabilities, targets = probabilities_of(probabilities_NV, targets_N, "ece")
    if n_bins < 1:
        raise ConfigError(f"ece with {n_bins} bins;", remedy="give 1 or more; papers take 15.")
    confidence_N = probabilities.max(axis=1)
    right_N = probabilities.argmax(axis=1) == targets
    bin_N = np.clip(np.ceil(confidence_N * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bin_N, weights=right_N - confidence_N, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(targets))
