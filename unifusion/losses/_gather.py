"""Rows of all processes in each of them, with the gradient that one process would have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["gather_rows"]


def gather_rows(rows_BD: Tensor, group: distributed.ProcessGroup | None = None) -> tuple[Tensor, int]:
    """Return the rows of all processes (N, ..), in the order of their ranks, and the place of this process's first among them.

    | input | shape | meaning |
    |---|---|---|
    | rows_BD | (B, ..) | vectors, or masks and whole numbers, which have no gradient; B may differ between processes |
    | group | | the processes; all by default |

    The gradient of a row is the sum over processes of what their losses give it. Data-parallel training takes the mean over processes of
    the weights' gradients, so the gradient is that of the mean of the processes' losses: of local rows against all (`clip_loss`,
    `siglip_loss`) where B is equal, or of any loss of all rows, taken in each process, whatever B. Each process gathers the same
    things in the same order and needs a gradient of the same ones, or they wait for each other for ever.

    Without several processes: the rows as they are, at 0.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size(group) == 1:
        return rows_BD, 0
    world, rank = distributed.get_world_size(group), distributed.get_rank(group)
    counts = [torch.zeros(1, dtype=torch.int64, device=rows_BD.device) for _ in range(world)]
    distributed.all_gather(counts, torch.tensor([len(rows_BD)], device=rows_BD.device), group=group)
    sizes = torch.cat(counts).tolist()
    all_ND: Tensor = _Gather.apply(rows_BD, sizes, rank, group)
    return all_ND, sum(sizes[:rank])


class _Gather(torch.autograd.Function):
    """all_gather whose backward sums up over processes; `torch.distributed.all_gather` gives rows of others no gradient."""

    @staticmethod
    def forward(ctx: Any, rows_BD: Tensor, sizes: list[int], rank: int, group: distributed.ProcessGroup | None) -> Tensor:
        """Rows (B, ..) to rows of all (N, ..)."""
        ctx.group, ctx.span = group, (sum(sizes[:rank]), sizes[rank])
        sent = rows_BD.contiguous().byte() if rows_BD.dtype == torch.bool else rows_BD.contiguous()
        blank = max(sizes) - len(sent)  # what is gathered has one shape
        sent = functional.pad(sent, (0, 0) * (sent.ndim - 1) + (0, blank)) if blank else sent
        parts = [torch.empty_like(sent) for _ in sizes]
        distributed.all_gather(parts, sent, group=group)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]).to(rows_BD.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_ND: Tensor) -> tuple[Tensor, None, None, None]:
        """Slopes (N, ..) of all rows to those of one's own (B, ..), as all processes have them."""
        total_ND = slope_ND.contiguous().clone()
        distributed.all_reduce(total_ND, group=ctx.group)
        start, count = ctx.span
        return total_ND[start : start + count], None, None, None
