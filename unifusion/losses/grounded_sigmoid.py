"""Sigmoid contrast between windows of tokens and phrases, where each phrase attends to the tokens that fit it best."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["grounded_sigmoid_loss"]


def grounded_sigmoid_loss(
    tokens_KLD: Tensor, phrases_PD: Tensor, truth_KP: Tensor, *, scale: Tensor, bias_P: Tensor, sharpness: float = 20.0
) -> Tensor:
    """Return the mean binary cross-entropy over known (window, phrase) pairs, balanced between true and false ones.

    The similarity of window k and phrase p is an average of token similarities, weighted by their own softmax: a phrase that is true
    of one corner of the picture is asked of that corner's tokens.

    | input | shape | meaning |
    |---|---|---|
    | tokens_KLD | (K, L, D) | unit-norm tokens of K windows |
    | phrases_PD | (P, D) | unit-norm phrases |
    | truth_KP | (K, P) | 1 true, 0 false, -1 unknown (ignored) |
    | scale, bias_P | (), (P,) | learned, as in SigLIP |

    After Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023), with the token-wise similarity of Yao et al., "FILIP" (2021).
    """
    logits_KP = grounded_logits(tokens_KLD, phrases_PD, scale=scale, bias_P=bias_P, sharpness=sharpness)
    known_KP = truth_KP >= 0
    true_KP = truth_KP == 1
    each_KP = functional.binary_cross_entropy_with_logits(logits_KP, true_KP.to(logits_KP), reduction="none")
    positive, negative = each_KP[true_KP], each_KP[known_KP & ~true_KP]
    return positive.sum() / max(positive.numel(), 1) + negative.sum() / max(positive.numel(), 1)


def grounded_logits(tokens_KLD: Tensor, phrases_PD: Tensor, *, scale: Tensor, bias_P: Tensor, sharpness: float = 20.0) -> Tensor:
    """Return the logits (K, P) that the loss above compares with the truth."""
    similarity_KLP = tokens_KLD @ phrases_PD.T
    weights_KLP = torch.softmax(sharpness * similarity_KLP, dim=1)
    return scale * (weights_KLP * similarity_KLP).sum(1) + bias_P
