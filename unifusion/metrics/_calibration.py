"""What figures of calibration share."""

from __future__ import annotations

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["probabilities_of"]


def probabilities_of(probabilities_NV: np.ndarray, targets_N: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, V) as float64 and targets (N,) as indices.

    Raises:
        ConfigError: shapes do not fit, a target is no class, or the rows are not probabilities.
    """
    probabilities, targets = np.asarray(probabilities_NV, dtype=np.float64), np.asarray(targets_N)
    if probabilities.ndim != 2 or targets.shape != probabilities.shape[:1] or not len(targets):
        raise ConfigError(f"{name} of shapes {probabilities.shape} and {targets.shape};", remedy="give (N, V) and (N,).")
    if not np.issubdtype(targets.dtype, np.integer) or targets.min() < 0 or targets.max() >= probabilities.shape[1]:
        found = f"{name}: targets of type {targets.dtype} from {targets.min()} to {targets.max()};"
        raise ConfigError(found, remedy=f"give whole numbers from 0 to {probabilities.shape[1] - 1}.")
    if not ((probabilities >= 0).all() and np.allclose(probabilities.sum(axis=1), 1, atol=1e-4)):
        raise ConfigError(f"{name}: rows of probabilities do not sum to 1;", remedy="give softmax outputs.")
    return probabilities, targets
