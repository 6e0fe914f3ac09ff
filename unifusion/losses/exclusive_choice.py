"""Cross-entropy between phrases that exclude each other, told by all windows of a piece together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["exclusive_choice_loss"]


def exclusive_choice_loss(
    logits_KP: Tensor, truth_KP: Tensor, group_K: Tensor, sets: Sequence[Tensor], *, smoothing: float = 0.1
) -> Tensor:  # fmt: skip
    """Return the mean cross-entropy over (group, set) pairs of which exactly one phrase is true; 0 where there is none.

    The logits of a group's windows are averaged first: which emotion a voice has is told by the sentence, not by half a second of it.

    | input | shape | meaning |
    |---|---|---|
    | logits_KP | (K, P) | of each window and phrase |
    | truth_KP | (K, P) | 1 true, 0 false, -1 unknown |
    | group_K | (K,) | number of the piece a window is of, -1 for none |
    | sets | each (N,) | indices of phrases that exclude each other |
    | smoothing | | share of the target that is spread over the set (Szegedy et al. 2016) |

    A phrase that is unknown of a group is not offered to it.

    Averaging a clip's logits is the pooling of weakly labelled sound events (Kong et al., "PANNs", 2020).
    """
    inside_K = group_K >= 0
    if not bool(inside_K.any()):
        return logits_KP.sum() * 0.0
    group_N = torch.unique(group_K[inside_K], return_inverse=True)[1]
    count = int(group_N.max()) + 1
    sizes_G = torch.bincount(group_N, minlength=count).to(logits_KP)
    mean_GP = logits_KP.new_zeros(count, logits_KP.shape[1]).index_add_(0, group_N, logits_KP[inside_K]) / sizes_G[:, None]
    true_GP, unsure_GP = (
        torch.zeros_like(mean_GP).index_add_(0, group_N, (truth_KP[inside_K] == value).to(mean_GP)) > 0 for value in (1, -1)
    )
    losses = []
    for index_N in sets:
        one_G = true_GP[:, index_N].sum(1) == 1
        if bool(one_G.any()):
            right_GN = true_GP[one_G][:, index_N]
            offered_GN = right_GN | ~unsure_GP[one_G][:, index_N]
            told_GN = mean_GP[one_G][:, index_N].float().masked_fill(~offered_GN, -torch.inf).log_softmax(1).masked_fill(~offered_GN, 0.0)
            wanted_GN = (1 - smoothing) * right_GN + smoothing * offered_GN / offered_GN.sum(1, keepdim=True)
            losses.append(-(wanted_GN * told_GN).sum(1))
    return torch.cat(losses).mean() if losses else logits_KP.sum() * 0.0
