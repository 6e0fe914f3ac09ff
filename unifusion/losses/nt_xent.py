"""NT-Xent: two views of a row find each other among all views."""

from __future__ import annotations

import torch
from torch import Tensor

from unifusion.losses._contrast import contrast, matches
from unifusion.losses._vectors import check_rows, check_scale, cosines

__all__ = ["nt_xent"]


def nt_xent(a_BD: Tensor, b_BD: Tensor, *, temperature: float | Tensor = 0.5, groups_B: Tensor | None = None) -> Tensor:
    """Return the mean over 2B views of -log(exp(s+ / t) / sum of exp(s / t) over the other 2B - 1) (), in float32 or better.

    | input | shape | meaning |
    |---|---|---|
    | a_BD, b_BD | (B, D) | two views of each row, of any norm; s are their cosines |
    | temperature | () | t, a number or learned |
    | groups_B | (B,) int64 | rows of one group are not each other's negatives (nor positives); without: all rows differ |

    One row (B = 1), or rows all of one group, cost 0: there is nothing to tell them from. A view of norm 0 has cosine 0 with all and no
    gradient.

    Chen et al., "A simple framework for contrastive learning of visual representations" (SimCLR, 2020), eq. 1.

    Raises:
        ConfigError: the shapes do not fit, or the temperature is not above 0.
    """
    check_rows("nt_xent", a_BD, b_BD)
    check_scale("temperature", temperature)
    views_VD = torch.cat([a_BD, b_BD])
    count, views = len(a_BD), len(views_VD)
    other_VV = torch.eye(views, dtype=torch.bool, device=views_VD.device).roll(count, dims=0)
    same_BB = matches(count, groups_B, None, total=count, offset=0, device=a_BD.device)
    among_VV = ~same_BB.repeat(2, 2) | other_VV
    return contrast(cosines(views_VD, views_VD) / temperature, other_VV, among_VV)
