"""The symmetric contrastive loss of CLIP, with gathered rows and several captions of a clip."""

from __future__ import annotations

from torch import Tensor

from unifusion.errors import ConfigError
from unifusion.losses._contrast import contrast, matches
from unifusion.losses._vectors import check_mask, check_rows, check_scale, cosines

__all__ = ["clip_loss"]


def clip_loss(
    a_BD: Tensor, b_BD: Tensor, *, scale: float | Tensor, all_a_ND: Tensor | None = None, all_b_ND: Tensor | None = None, offset: int = 0,
    groups_B: Tensor | None = None, all_groups_N: Tensor | None = None, positives: tuple[Tensor, Tensor] | None = None, form: str = "out",
) -> Tensor:  # fmt: skip
    """Return half the cross-entropy of finding each a's b plus half that of finding each b's a (), in float32 or better.

    | input | shape | meaning |
    |---|---|---|
    | a_BD, b_BD | (B, D) | rows of two modalities, of any norm; what is compared are cosines |
    | scale | () | 1 / temperature, a number or learned (the exp of CLIP's logit scale) |
    | all_a_ND, all_b_ND | (N, D) | rows of all processes, where there are several; without, N = B |
    | offset | | place of this process's first row among all |
    | groups_B | (B,) int64 | rows of one group go with each other (captions of one clip); without, row i with row i |
    | all_groups_N | (N,) int64 | the groups of all rows |
    | positives | (B, N), (B, N) bool | instead of groups: which b go with each a, and which a with each b |
    | form | | what several positives mean: `out`, `mil` or `apart`, see `_contrast.FORMS` |

    Over processes: `_gather.gather_rows` gives all rows and offset. The mean over processes of equally many rows is the loss of all rows
    in one process, and so is its gradient, learned scale included.

    One row alone costs 0. A vector of norm 0 has cosine 0 with all and no gradient.

    Radford et al., "Learning transferable visual models from natural language supervision" (2021), figure 3.

    Raises:
        ConfigError: the shapes do not fit, rows are gathered on one side only, or the scale is not above 0.
    """
    check_rows("clip_loss", a_BD, b_BD)
    check_scale("scale", scale)
    if (all_a_ND is None) != (all_b_ND is None):
        raise ConfigError("clip_loss has gathered rows of one side only;", remedy="give all_a_ND and all_b_ND.")
    if positives is not None and groups_B is not None:
        raise ConfigError("clip_loss has positives and groups;", remedy="give one of them.")
    if all_a_ND is None or all_b_ND is None:
        all_a_ND, all_b_ND = a_BD, b_BD
    elif groups_B is not None and all_groups_N is None:
        raise ConfigError("clip_loss has gathered rows, and groups of local rows only;", remedy="give all_groups_N.")
    check_rows("clip_loss", all_a_ND, all_b_ND)
    check_rows("clip_loss", a_BD, all_a_ND, rows=False)
    count, total = len(a_BD), len(all_a_ND)
    if positives is None:
        own_BN = matches(count, groups_B, all_groups_N, total=total, offset=offset, device=a_BD.device)
        positives = (own_BN, own_BN)
    for mask in positives:
        check_mask("positives", mask, count, total)
    found = contrast(scale * cosines(a_BD, all_b_ND), positives[0], form=form)
    return (found + contrast(scale * cosines(b_BD, all_a_ND), positives[1], form=form)) / 2
