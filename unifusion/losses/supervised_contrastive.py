"""Supervised contrast: rows of one label find each other."""

from __future__ import annotations

from torch import Tensor

from unifusion.errors import ConfigError
from unifusion.losses._contrast import classes, contrast
from unifusion.losses._vectors import check_rows, check_scale, cosines

__all__ = ["supervised_contrastive"]


def supervised_contrastive(
    vectors: Tensor, labels_B: Tensor | None = None, *, temperature: float | Tensor = 0.1, form: str = "out", ignore_index: int = -100,
    positives_BB: Tensor | None = None, candidates_BB: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return the mean over anchors of the mean over their positives of -log softmax of the cosines / temperature (), float32 or better.

    | input | shape | meaning |
    |---|---|---|
    | vectors | (B, D) or (B, V, D) | rows, or V views of each row, of any norm |
    | labels_B | (B,) int64 | rows (and all their views) of one label are positives of each other, all others negatives |
    | temperature | () | a number or learned |
    | form | | `out` is the paper's L_out; `mil` is its L_in but for a constant; `apart` leaves other positives out from below the line |
    | ignore_index | | label of rows that are left out altogether |
    | positives_BB | (B, B) bool | instead of labels, for rows (B, D): which rows go with each, where rows have no one class each |
    | candidates_BB | (B, B) bool | False: neither right nor wrong, for rows (B, D) |

    An anchor without a positive is left out of the mean and stays a negative of others; where no anchor has one (B = 1) the loss is 0,
    with a gradient of 0. If all labels are equal there is no negative: `out` pulls all together to log(number of positives), `apart` is 0.
    A vector of norm 0 has cosine 0 with all and no gradient.

    Khosla et al., "Supervised contrastive learning" (2020), eq. 2, without the factor temperature / 0.07 of its published code.

    Raises:
        ConfigError: the shapes do not fit, or the temperature is not above 0.
    """
    check_scale("temperature", temperature)
    if vectors.ndim not in (2, 3):
        raise ConfigError(f"supervised_contrastive of shape {tuple(vectors.shape)};", remedy="give vectors (B, D) or (B, V, D).")
    views = 1 if vectors.ndim == 2 else vectors.shape[1]
    rows_VD = vectors.reshape(-1, vectors.shape[-1])
    check_rows("supervised_contrastive", rows_VD)
    labels_V = None if labels_B is None else labels_B.repeat_interleave(views)
    right_VV, among_VV = classes("supervised_contrastive", rows_VD, labels_V, positives_BB, candidates_BB)
    if labels_V is not None:
        known_V = labels_V != ignore_index
        among_VV = among_VV & known_V & known_V[:, None]
    return contrast(cosines(rows_VD, rows_VD) / temperature, right_VV, among_VV, form=form)
