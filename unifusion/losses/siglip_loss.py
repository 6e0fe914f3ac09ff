"""The sigmoid loss of SigLIP: each pair is told by itself whether it belongs together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unifusion.errors import ConfigError
from unifusion.losses._contrast import matches
from unifusion.losses._vectors import check_mask, check_rows, check_scale, cosines

__all__ = ["siglip_loss"]


def siglip_loss(
    a_BD: Tensor, b_BD: Tensor, *, scale: float | Tensor, bias: float | Tensor, all_b_ND: Tensor | None = None, offset: int = 0,
    groups_B: Tensor | None = None, all_groups_N: Tensor | None = None, positives_BN: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return the sum over all pairs of -log sigmoid(z (scale * cosine + bias)) over B (), in float32 or better; z is 1 or -1.

    | input | shape | meaning |
    |---|---|---|
    | a_BD, b_BD | (B, D) | rows of two modalities, of any norm |
    | scale | () | 1 / temperature, a number or learned (10 at the start of the paper's trainings) |
    | bias | () | a number or learned (-10 at the start, as nearly all pairs are wrong) |
    | all_b_ND | (N, D) | b of all processes, where there are several; without, N = B |
    | offset | | place of this process's first row among all |
    | groups_B | (B,) int64 | rows of one group go with each other (captions of one clip); without, row i with row i |
    | all_groups_N | (N,) int64 | the groups of all rows |
    | positives_BN | (B, N) bool | instead of groups: which b go with each a |

    Each pair is seen once, by the process that has its a, so that the mean over processes of equally many rows is the loss of all rows in
    one process, and so is its gradient. One row alone is one right pair. A vector of norm 0 has cosine 0 with all and no gradient.

    Zhai et al., "Sigmoid loss for language image pre-training" (2023), eq. 1 and algorithm 1.

    Raises:
        ConfigError: the shapes do not fit, or the scale is not above 0.
    """
    check_rows("siglip_loss", a_BD, b_BD)
    check_scale("scale", scale)
    if all_b_ND is not None:
        check_rows("siglip_loss", a_BD, all_b_ND, rows=False)
        if groups_B is not None and all_groups_N is None:
            raise ConfigError("siglip_loss has gathered rows, and groups of local rows only;", remedy="give all_groups_N.")
    others_ND = b_BD if all_b_ND is None else all_b_ND
    if positives_BN is not None and groups_B is not None:
        raise ConfigError("siglip_loss has positives and groups;", remedy="give one of them.")
    if positives_BN is None:
        positives_BN = matches(len(a_BD), groups_B, all_groups_N, total=len(others_ND), offset=offset, device=a_BD.device)
    check_mask("positives_BN", positives_BN, len(a_BD), len(others_ND))
    logits_BN = scale * cosines(a_BD, others_ND) + bias
    return -functional.logsigmoid(torch.where(positives_BN, logits_BN, -logits_BN)).sum() / len(a_BD)
