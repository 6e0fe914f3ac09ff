"""Soft-DTW: the cost of all ways through a matrix of costs, the cheap ones first, with a gradient."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from unifusion.errors import ConfigError
from unifusion.losses._vectors import full

__all__ = ["soft_dtw"]


def soft_dtw(costs_BNM: Tensor, *, gamma: float = 1.0, rows_B: Tensor | None = None, columns_B: Tensor | None = None) -> Tensor:
    """Return -gamma log of the sum over all paths of exp(-cost / gamma) (B,), in float32 or better.

    | input | shape | meaning |
    |---|---|---|
    | costs_BNM | (B, N, M) | of putting n and m at the same time (squared distances, 1 - cosine), finite |
    | gamma | | how soft: towards 0 it is `dtw`'s cost; values may be negative |
    | rows_B, columns_B | (B,) int64 | lengths of each; what stands behind is not looked at and gets no gradient; without, N and M |

    Its gradient to the costs is the expected alignment (B, N, M): the share of paths, weighted by exp(-cost / gamma), that go through each
    cell: `torch.autograd.grad(soft_dtw(costs).sum(), costs)`. It is kept exact by weights of 0 to 1 for each step, not by differences of
    costs, and can be taken once (no second derivative). One row (N = 1 or M = 1) has one path, and the value is the sum.

    The value falls with more paths and is not 0 for equal series; take soft_dtw(x, y) - (soft_dtw(x, x) + soft_dtw(y, y)) / 2 where that
    matters (Blondel et al., "Differentiable divergences between time series", 2021). Memory is at most eight numbers a cell.

    Cuturi and Blondel, "Soft-DTW: a differentiable loss function for time-series" (2017), algorithms 1 and 2.

    Raises:
        ConfigError: the shapes do not fit, a length is outside its axis, or gamma is not above 0.
    """
    if costs_BNM.ndim != 3 or 0 in costs_BNM.shape or not costs_BNM.is_floating_point():
        found = f"soft_dtw of costs {costs_BNM.dtype} of shape {tuple(costs_BNM.shape)};"
        raise ConfigError(found, remedy="give float (B, N, M), none of them 0.")
    if not 0 < gamma < float("inf"):
        raise ConfigError(f"gamma is {gamma};", remedy="take a number above 0; for 0 there is dtw.")
    batch, rows, columns = costs_BNM.shape
    rows_B, columns_B = (_lengths(given, most, batch, costs_BNM) for given, most in ((rows_B, rows), (columns_B, columns)))
    inside_BN, inside_BM = (
        torch.arange(most, device=costs_BNM.device) < length[:, None] for most, length in ((rows, rows_B), (columns, columns_B))
    )
    clean_BNM = torch.where(inside_BN[:, :, None] & inside_BM[:, None], full(costs_BNM), 0.0)
    if rows > columns:  # diagonals are kept as long as the first axis
        clean_BNM, rows_B, columns_B = clean_BNM.transpose(1, 2), columns_B, rows_B
    value_B: Tensor = _SoftDTW.apply(clean_BNM, gamma, rows_B, columns_B)
    return value_B


def _lengths(given_B: Tensor | None, most: int, batch: int, like: Tensor) -> Tensor:
    """Lengths (B,) of an axis."""
    if given_B is None:
        return torch.full((batch,), most, device=like.device)
    if given_B.shape != (batch,) or given_B.is_floating_point() or bool(((given_B < 1) | (given_B > most)).any()):
        raise ConfigError(f"lengths {given_B.tolist()} of {batch} series;", remedy=f"give whole numbers from 1 to {most}.")
    return given_B.to(like.device)


class _SoftDTW(torch.autograd.Function):
    """Value and expected alignment, a diagonal at a time: cells of a diagonal do not need each other.

    Cells (n, m), counted from 1, are at [n + m, b, n].
    """

    @staticmethod
    def forward(ctx: Any, costs_BNM: Tensor, gamma: float, rows_B: Tensor, columns_B: Tensor) -> Tensor:
        """Costs (B, N, M) to values (B,)."""
        batch, rows, columns = costs_BNM.shape
        total_DBN = costs_BNM.new_full((rows + columns + 1, batch, rows + 1), torch.inf)
        total_DBN[0, :, 0] = 0.0
        steps_DKBN = costs_BNM.new_zeros(rows + columns + 1, 3, batch, rows + 1) if ctx.needs_input_grad[0] else None
        flipped_BNM = costs_BNM.flip(2)
        for d in range(2, rows + columns + 1):
            low, high = max(1, d - columns), min(rows, d - 1)
            above, before = total_DBN[d - 1], total_DBN[d - 2]
            ways_KBN = torch.stack([before[:, low - 1 : high], above[:, low - 1 : high], above[:, low : high + 1]]) / -gamma
            here_BN = flipped_BNM.diagonal(columns + 1 - d, 1, 2)
            total_DBN[d, :, low : high + 1] = here_BN - gamma * torch.logsumexp(ways_KBN, dim=0)
            if steps_DKBN is not None:
                steps_DKBN[d, :, :, low : high + 1] = torch.softmax(ways_KBN, dim=0)
        ctx.save_for_backward(*(() if steps_DKBN is None else (steps_DKBN,)), rows_B, columns_B)
        ctx.shape = costs_BNM.shape
        return total_DBN[rows_B + columns_B, torch.arange(batch, device=costs_BNM.device), rows_B]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_B: Tensor) -> tuple[Tensor | None, None, None, None]:
        """Slopes (B,) of the values to those of the costs (B, N, M): the share of paths that pass flows back along each step."""
        steps_DKBN, rows_B, columns_B = ctx.saved_tensors
        batch, rows, columns = ctx.shape
        passed_DBN = steps_DKBN.new_zeros(rows + columns + 1, batch, rows + 1)
        every_B = torch.arange(batch, device=slope_B.device)
        passed_DBN[rows_B + columns_B, every_B, rows_B] = 1.0
        for d in range(rows + columns, 1, -1):
            low, high = max(1, d - columns), min(rows, d - 1)
            shares_KBN = passed_DBN[d, :, low : high + 1] * steps_DKBN[d, :, :, low : high + 1]
            passed_DBN[d - 2, :, low - 1 : high] += shares_KBN[0]
            passed_DBN[d - 1, :, low - 1 : high] += shares_KBN[1]
            passed_DBN[d - 1, :, low : high + 1] += shares_KBN[2]
        n, m = torch.arange(rows, device=slope_B.device), torch.arange(columns, device=slope_B.device)
        alignment_NMB = passed_DBN[n[:, None] + m + 2, :, n[:, None] + 1]
        return alignment_NMB.permute(2, 0, 1) * slope_B[:, None, None], None, None, None
