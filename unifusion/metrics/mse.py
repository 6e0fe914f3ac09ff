"""Mean squared error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["mse"]


def mse(predictions: Sequence[float] | np.ndarray, targets: Sequence[float] | np.ndarray) -> float:
    """Mean of the squared differences; equals sklearn's `mean_squared_error`.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | numbers |
    | `targets` | (N,) | numbers |

    Raises:
        ConfigError: the shapes differ, are not (N,), are empty, or hold NaN.
    """
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not x.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigError(f"mse of shapes {x.shape} and {y.shape};", remedy="give two equally long series of finite numbers.")
    return float(((x - y) ** 2).mean())
