"""The focal loss: rows that are told well already count less."""

from __future__ import annotations

from torch import Tensor

from unifusion.losses._targets import label_shares, mean_by_weight

__all__ = ["focal_loss"]

_LEAST = 1e-6


def focal_loss(
    logits_BK: Tensor, targets: Tensor, *, gamma: float = 2.0, class_weights_K: Tensor | None = None, ignore_index: int = -100
) -> Tensor:  # fmt: skip
    """Return the mean of -(1 - p) ** gamma * log p () over rows whose target is known, in float32; 0 where none is.

    | input | shape | meaning |
    |---|---|---|
    | logits_BK | (B, K) | of each row and label |
    | targets | (B,) int64 or (B, K) float | numbers of labels, or shares, over which the loss is averaged |
    | gamma | | 0 is the cross-entropy |
    | class_weights_K | (K,) | alpha of the paper |
    | ignore_index | | number of a target that is not known; among shares that is a row with NaN |

    Lin et al., "Focal loss for dense object detection" (2017), with softmax instead of sigmoids.

    Raises:
        ConfigError: the shapes do not fit.
    """
    shares_BK, _ = label_shares(logits_BK, targets, ignore_index)
    logs_BK = logits_BK.float().log_softmax(dim=1)
    # Of p = 1 the power of a gamma below 1 has an infinite slope.
    missing_BK = (-logs_BK.expm1()).clamp(min=_LEAST)
    return mean_by_weight(-shares_BK * missing_BK**gamma * logs_BK, shares_BK, class_weights_K)
