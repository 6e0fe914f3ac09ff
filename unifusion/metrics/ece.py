"""Expected calibration error."""

from __future__ import annotations

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["ece"]


def ece(probabilities_NV: np.ndarray, targets_N: np.ndarray, *, n_bins: int = 15) -> float:
    """Mean over predictions of |accuracy - confidence| of their bin (Guo et al. 2017; top label, equally wide bins).

    | input | shape | meaning |
    |---|---|---|
    | `probabilities_NV` | (N, V) | rows sum to 1 |
    | `targets_N` | (N,) | indices of the true class |
    | `n_bins` | | bins over the confidence, each (low, high] |

    Raises:
        ConfigError: shapes do not fit, or the rows are not probabilities.
    """
    probabilities, targets = np.asarray(probabilities_NV, dtype=np.float64), np.asarray(targets_N)
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1] or not len(targets):
        raise ConfigError(f"ece of shapes {probabilities.shape} and {targets.shape};", remedy="give (N, V) and (N,).")
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ConfigError("ece: rows of probabilities do not sum to 1;", remedy="give softmax outputs.")
    confidence_N = probabilities.max(axis=1)
    right_N = probabilities.argmax(axis=1) == targets
    bin_N = np.clip(np.ceil(confidence_N * n_bins).astype(int) - 1, 0, n_bins - 1)
    gaps = np.bincount(bin_N, weights=right_N - confidence_N, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(targets))
