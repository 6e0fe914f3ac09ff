"""Class weights for sets whose labels are not equally frequent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unifusion.errors import ConfigError

__all__ = ["class_balanced_weights"]


def class_balanced_weights(counts: Sequence[int], *, beta: float = 0.999) -> Tensor:
    """Return weights (K,) float32 with mean 1 over the labels that occur: (1 - beta) / (1 - beta ** n), scaled.

    | input | shape | meaning |
    |---|---|---|
    | counts | (K,) | rows of each label in the training data |
    | beta | | 0 gives equal weights, 1 inverse frequency (the limit), in between: each further row of a label adds less |

    A label without a row gets 0: it is never a target. Cui et al., "Class-balanced loss based on effective number of samples" (2019).

    Raises:
        ConfigError: a count is negative, none is positive, or beta is outside [0, 1].
    """
    if not counts or min(counts) < 0 or max(counts) == 0 or not 0 <= beta <= 1:
        raise ConfigError(f"class weights of counts {list(counts)} with beta {beta};", remedy="give rows a label, and beta in [0, 1].")
    if beta in (0.0, 1.0):
        raw = [0.0 if n == 0 else 1.0 if beta == 0 else 1 / n for n in counts]
    else:
        raw = [0.0 if n == 0 else (1 - beta) / -math.expm1(n * math.log(beta)) for n in counts]
    mean = sum(raw) / sum(n > 0 for n in counts)
    return torch.tensor([w / mean for w in raw])
