"""Targets of classification losses: numbers or shares of labels, known or not, as one form; the weighted mean all of them end in."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unifusion.errors import ConfigError

__all__ = ["label_shares", "mean_by_weight"]


def label_shares(logits_BK: Tensor, targets: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Shares (B, K) float32 of the labels, 0 in rows whose target is not known, and which rows are (B,) bool.

    Raises:
        ConfigError: the shapes do not fit.
    """
    count, labels = logits_BK.shape
    if targets.shape == (count,) and not targets.is_floating_point():
        known_B = targets != ignore_index
        return functional.one_hot(targets.clamp(min=0) * known_B, labels).float() * known_B[:, None], known_B
    if targets.shape == (count, labels) and targets.is_floating_point():
        known_B = ~targets.isnan().any(dim=1)
        return targets.float().masked_fill(~known_B[:, None], 0.0), known_B
    found = f"targets {targets.dtype} of shape {tuple(targets.shape)} for logits of shape {tuple(logits_BK.shape)};"
    raise ConfigError(found, remedy="give numbers of labels (B,), or float shares (B, K).")


def mean_by_weight(losses_BK: Tensor, shares_BK: Tensor, class_weights_K: Tensor | None) -> Tensor:
    """The sum of losses (B, K) over the weight of the shares (B, K), as `torch.nn.functional.cross_entropy` has it; 0 without any."""
    weights_K = torch.ones_like(shares_BK[0]) if class_weights_K is None else class_weights_K.to(shares_BK)
    total = (shares_BK * weights_K).sum()
    return (losses_BK * weights_K).sum() / total.clamp(min=torch.finfo(torch.float32).tiny)
