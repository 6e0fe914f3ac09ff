"""Mean squared error over what is known."""

from __future__ import annotations

from torch import Tensor

from unifusion.errors import ConfigError

__all__ = ["mse_loss"]


def mse_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared difference () over known targets, in float32; 0 where none is.

    | input | shape | meaning |
    |---|---|---|
    | predictions | any | numbers |
    | targets | as predictions | NaN where it is not known |

    Raises:
        ConfigError: the shapes differ.
    """
    if predictions.shape != targets.shape:
        found = f"mse_loss of shapes {tuple(predictions.shape)} and {tuple(targets.shape)};"
        raise ConfigError(found, remedy="give the same shape twice.")
    known = ~targets.isnan()
    off = (predictions.float() - targets.float().masked_fill(~known, 0.0)).masked_fill(~known, 0.0)
    return (off**2).sum() / known.sum().clamp(min=1)
