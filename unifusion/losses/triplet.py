"""The triplet loss over the triplets of a batch that are worth learning from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unifusion.errors import ConfigError
from unifusion.losses._contrast import classes
from unifusion.losses._vectors import check_rows, choose, cosines, full

__all__ = ["triplet"]

_MININGS = ("batch_hard", "semi_hard")
_DISTANCES = ("euclidean", "squared", "cosine")


def triplet(
    vectors_BD: Tensor, labels_B: Tensor | None = None, *, margin: float = 0.2, mining: str = "batch_hard", distance: str = "euclidean",
    soft: bool = False, positives_BB: Tensor | None = None, candidates_BB: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return the mean of max(0, margin + d(anchor, positive) - d(anchor, negative)) () over mined triplets, in float32 or better.

    | input | shape | meaning |
    |---|---|---|
    | vectors_BD | (B, D) | anchors, positives and negatives are all among them; not normalised here |
    | labels_B | (B,) int64 | equal: positives of each other; else negatives |
    | margin | | how much farther negatives are wanted |
    | mining | | `batch_hard` or `semi_hard` |
    | distance | | `euclidean`, `squared` (of it), or `cosine` (1 - cosine) |
    | soft | | log(1 + exp(x)) in place of max(0, margin + x): no margin, and no triplet is ever done |
    | positives_BB | (B, B) bool | instead of labels: which rows go with each |
    | candidates_BB | (B, B) bool | False: neither positive nor negative, such as rows of the same modality |

    `batch_hard` takes of each anchor its farthest positive and nearest negative; `semi_hard` of each anchor and positive the nearest
    negative that is farther than the positive, or the farthest where none is.

    Triplets that cost 0 are part of the mean. An anchor without a positive or without a negative is left out; without any the loss is 0,
    with a gradient of 0. The distance of equal vectors is 0 with a gradient of 0 (its own would be infinite).

    Batch hard and soft: Hermans et al., "In defense of the triplet loss for person re-identification" (2017), eq. 5 and 3.2. Semi-hard:
    Schroff et al., "FaceNet" (2015), with what TensorFlow Addons does where there is none.

    Raises:
        ConfigError: the shapes do not fit, the margin is negative, or there is no such mining or distance.
    """
    check_rows("triplet", vectors_BD)
    choose("mining", mining, _MININGS)
    choose("distance", distance, _DISTANCES)
    if not margin >= 0:
        raise ConfigError(f"margin is {margin};", remedy="take 0 or more.")
    far_BB = _distances(vectors_BD, distance)
    right_BB, among_BB = classes("triplet", vectors_BD, labels_B, positives_BB, candidates_BB)
    over, told = (_batch_hard if mining == "batch_hard" else _semi_hard)(far_BB, right_BB, among_BB & ~right_BB)
    losses = functional.softplus(over) if soft else (margin + over).clamp(min=0)
    return torch.where(told, losses, 0.0).sum() / told.sum().clamp(min=1)


def _distances(vectors_BD: Tensor, distance: str) -> Tensor:
    """Distances (B, B) of all to all."""
    if distance == "cosine":
        return 1 - cosines(vectors_BD, vectors_BD)
    x_BD = full(vectors_BD)
    # By way of a matrix product near vectors would lose all their digits.
    far_BB = torch.cdist(x_BD, x_BD, compute_mode="donot_use_mm_for_euclid_dist")
    return far_BB**2 if distance == "squared" else far_BB


def _batch_hard(far_BB: Tensor, positives_BB: Tensor, negatives_BB: Tensor) -> tuple[Tensor, Tensor]:
    """How much farther (B,) each anchor's farthest positive is than its nearest negative, and which anchors have both."""
    told_B = positives_BB.any(dim=1) & negatives_BB.any(dim=1)
    farthest_B = far_BB.masked_fill(~positives_BB, -torch.inf).amax(dim=1)
    nearest_B = far_BB.masked_fill(~negatives_BB, torch.inf).amin(dim=1)
    return torch.where(told_B, farthest_B, 0.0) - torch.where(told_B, nearest_B, 0.0), told_B


def _semi_hard(far_BB: Tensor, positives_BB: Tensor, negatives_BB: Tensor) -> tuple[Tensor, Tensor]:
    """How much farther (B, B) each anchor's positive is than the negative chosen for it, and which are pairs that have one."""
    told_BB = positives_BB & negatives_BB.any(dim=1, keepdim=True)
    # Of B x B x B distances only B x B at once: negatives in order, and for each positive the first that is farther.
    order_BB = far_BB.detach().masked_fill(~negatives_BB, torch.inf).argsort(dim=1)
    sorted_BB = far_BB.detach().masked_fill(~negatives_BB, torch.inf).gather(1, order_BB)
    count_B1 = negatives_BB.sum(dim=1, keepdim=True)
    place_BB = torch.searchsorted(sorted_BB, far_BB.detach().contiguous(), right=True)
    place_BB = torch.minimum(place_BB, (count_B1 - 1).clamp(min=0))
    return far_BB - far_BB.gather(1, order_BB.gather(1, place_BB)), told_BB
