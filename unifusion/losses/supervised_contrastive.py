"""Supervised contrast: rows of one label find each other."""

from __future__ import annotations

import torch
from torch import Tensor

from unifusion.errors import ConfigError
from unifusion.losses._contrast import contrast
from unifusion.losses._vectors import check_rows, check_scale, cosines

__all__ = ["supervised_contrastive"]


def supervised_contrastive(
    vectors: Tensor, labels_B: Tensor, *, temperature: float | Tensor = 0.1, form: str = "out", ignore_index: int = -100
) -> Tensor:
    """Return the mean over anchors of the mean over their positives of -log softmax of the cosines / temperature (), float32 or better.

    | input | shape | meaning |
    |---|---|---|
    | vectors | (B, D) or (B, V, D) | rows, or V views of each row, of any norm |
    | labels_B | (B,) int64 | rows (and all their views) of one label are positives of each other, all others negatives |
    | temperature | () | a number or learned |
    | form | | `out` is the paper's L_out; `mil` is its L_in but for a constant; `apart` leaves other positives out from below the line |
    | ignore_index | | label of rows that are left out altogether |

    An anchor without a positive is left out of the mean and stays a negative of others; where no anchor has one (B = 1) the loss is 0,
    with a gradient of 0. If all labels are equal there is no negative: `out` pulls all together to log(number of positives), `apart` is 0.
    A vector of norm 0 has cosine 0 with all and no gradient.

    Khosla et al., "Supervised contrastive learning" (2020), eq. 2, without the factor temperature / 0.07 of its published code.

    Raises:
        ConfigError: the shapes do not fit, or the temperature is not above 0.
    """
    check_scale("temperature", temperature)
    if vectors.ndim not in (2, 3) or labels_B.shape != vectors.shape[:1] or labels_B.is_floating_point():
        found = f"vectors of shape {tuple(vectors.shape)} with labels {labels_B.dtype} of shape {tuple(labels_B.shape)};"
        raise ConfigError(found, remedy="give vectors (B, D) or (B, V, D) and a whole number to each row.")
    views = 1 if vectors.ndim == 2 else vectors.shape[1]
    rows_VD = vectors.reshape(-1, vectors.shape[-1])
    check_rows("supervised_contrastive", rows_VD)
    labels_V = labels_B.repeat_interleave(views)
    among_VV = ~torch.eye(len(labels_V), dtype=torch.bool, device=labels_V.device)
    known_V = labels_V != ignore_index
    among_VV = among_VV & known_V & known_V[:, None]
    return contrast(cosines(rows_VD, rows_VD) / temperature, labels_V[:, None] == labels_V, among_VV, form=form)
