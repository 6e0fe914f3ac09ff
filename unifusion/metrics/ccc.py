"""Lin's concordance correlation coefficient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["ccc"]


def ccc(predictions: Sequence[float] | np.ndarray, targets: Sequence[float] | np.ndarray) -> float:
    """2 cov(x, y) / (var x + var y + (mean x - mean y)^2), in the population form (divided by N, as Lin 1989).

    torchmetrics' `ConcordanceCorrCoef` divides by N - 1 and so differs on short inputs. Undefined for two constant series (0 / 0): 0
    with a warning. Compute it once over all frames or clips of a partition: the mean over batches is another number.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | numbers |
    | `targets` | (N,) | numbers |

    Raises:
        ConfigError: the shapes differ, are not (N,), are empty, or hold NaN.
    """
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1 or not x.size or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ConfigError(f"ccc of shapes {x.shape} and {y.shape};", remedy="give two equally long series of finite numbers.")
    covariance = float(((x - x.mean()) * (y - y.mean())).mean())
    spread = float(x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        warnings.warn("ccc: a series is constant, so no agreement in its changes can be measured; 0 is given", RuntimeWarning, stacklevel=2)
        return 0.0
    return 2 * covariance / spread
