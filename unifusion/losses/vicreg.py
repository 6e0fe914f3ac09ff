"""VICReg: a guard against collapse that needs no negatives."""

from __future__ import annotations

from torch import Tensor

from unifusion.errors import ConfigError
from unifusion.losses._vectors import check_rows, full

__all__ = ["vicreg"]

_LEAST = 1e-4


def vicreg(
    a_BD: Tensor, b_BD: Tensor | None = None, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0,
    deviation: float = 1.0,
) -> Tensor:  # fmt: skip
    """Return invariance * s(a, b) + variance * mean of v(a), v(b) + covariance * (c(a) + c(b)) (), in float32 or better.

    s is the mean squared difference, v the mean over the D columns of max(0, deviation - sqrt(var + 1e-4)), c the sum of squares of
    covariances of different columns over D; var and covariances are divided by B - 1.

    | input | shape | meaning |
    |---|---|---|
    | a_BD | (B, D) | vectors as the head gives them, not normalised |
    | b_BD | (B, D) | another view or modality of the same rows; without it only v(a) and c(a) count: a guard beside another loss |
    | invariance, variance, covariance | | weights of the parts |
    | deviation | | of each column at least; vectors of norm 1 cannot have more than D ** -0.5 |

    One row (B = 1) varies in nothing: v and c are 0 then. Over processes gather the rows first (`_gather.gather_rows`): it is a figure of
    the batch, not a mean over rows.

    Bardes et al., "VICReg: Variance-Invariance-Covariance Regularization" (2022), eq. 1 to 6, with v halved as in its published code.

    Raises:
        ConfigError: the shapes differ, a weight is negative, or the deviation is not above 0.
    """
    views = [a_BD] if b_BD is None else [a_BD, b_BD]
    check_rows("vicreg", *views)
    if min(invariance, variance, covariance) < 0 or not deviation > 0:
        found = f"weights {invariance}, {variance}, {covariance} and deviation {deviation};"
        raise ConfigError(found, remedy="take weights of 0 or more, and a deviation above 0.")
    count, width = a_BD.shape
    total = (full(a_BD) * 0.0).sum()  # where one row leaves nothing else, it is still part of the graph
    if b_BD is not None:
        total = total + invariance * (full(a_BD) - full(b_BD)).square().mean()
    for x_BD in views if count > 1 else []:
        off_BD = full(x_BD) - full(x_BD).mean(dim=0)
        covariance_DD = off_BD.T @ off_BD / (count - 1)
        variance_D = covariance_DD.diagonal()
        total = total + variance * (deviation - (variance_D + _LEAST).sqrt()).clamp(min=0).mean() / len(views)
        total = total + covariance * (covariance_DD.square().sum() - variance_D.square().sum()) / width
    return total
