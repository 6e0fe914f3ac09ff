"""1 less Lin's concordance correlation coefficient."""

from __future__ import annotations

import torch
from torch import Tensor

from unifusion.errors import ConfigError

__all__ = ["ccc_loss"]

_LEAST = 1e-8


def ccc_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over columns of 1 - 2 cov(x, y) / (var x + var y + (mean x - mean y)^2) (), in float32; 0 where nothing is known.

    | input | shape | meaning |
    |---|---|---|
    | predictions | (B,) or (B, A) | numbers, A of a row (valence, arousal) |
    | targets | as predictions | NaN where it is not known: left out, column by column |

    The population form (divided by N, Lin 1989), as `unifusion/metrics/ccc.py`. It is a figure of the batch, not a mean over rows: one
    known row in a column says nothing (the column is left out), two to eight are noisy, and the mean over batches is not the figure of all
    rows together. Take batches of 16 or more, or add `mse_loss`.

    Constant predictions give 1 with a gradient of finite size. As a loss: Trigeorgis et al., "Adieu features?" (2016).

    Raises:
        ConfigError: the shapes differ.
    """
    if predictions.shape != targets.shape or predictions.ndim not in (1, 2):
        found = f"ccc_loss of shapes {tuple(predictions.shape)} and {tuple(targets.shape)};"
        raise ConfigError(found, remedy="give (B,) or (B, A) of both.")
    x_BA, y_BA = (t.float().reshape(len(t), -1) for t in (predictions, targets))
    known_BA = ~y_BA.isnan()
    count_A = known_BA.sum(dim=0)
    x_BA, y_BA = x_BA.masked_fill(~known_BA, 0.0), y_BA.masked_fill(~known_BA, 0.0)
    mean_x_A, mean_y_A = (t.sum(dim=0) / count_A.clamp(min=1) for t in (x_BA, y_BA))
    off_x_BA, off_y_BA = (x_BA - mean_x_A).masked_fill(~known_BA, 0.0), (y_BA - mean_y_A).masked_fill(~known_BA, 0.0)
    shared_A = (off_x_BA * off_y_BA).sum(dim=0) / count_A.clamp(min=1)
    spread_A = (off_x_BA**2 + off_y_BA**2).sum(dim=0) / count_A.clamp(min=1) + (mean_x_A - mean_y_A) ** 2
    told_A = count_A >= 2
    losses_A = torch.where(told_A, 1 - 2 * shared_A / (spread_A + _LEAST), 0.0)
    return losses_A.sum() / told_A.sum().clamp(min=1)
