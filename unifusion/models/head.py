"""The language model's head and its loss over many positions, without all their logits at once.

A position's logits are V numbers: 1,024 positions of a vocabulary of 32,000 are 131 MB, three to four times over with their softmax and
gradients. Here rows go through the head some at a time. The gradient of the loss is made beside it, as Liger Kernel does (Hsu et al.,
"Liger Kernel: Efficient Triton Kernels for LLM Training", 2024), so no logits are made twice: 4HV operations a row with a frozen head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

__all__ = ["head_loss", "piece_bytes"]

_ELEMENTS = {"cpu": 3 << 20, "meta": 3 << 20}
"""Logits at once. On a CPU 12 MB: 98 rows of 32,000 words are nearly as fast as all of them, 32 rows take 1.5 times as long (measured)."""
_ELEMENTS_ELSEWHERE = 1 << 25
"""128 MB in float32: 220 rows of 152,000 words, enough for matrix units to be busy."""


def head_loss(head: nn.Module, hidden_ND: Tensor, targets_N: Tensor, *, elements: int = 0) -> Tensor:
    """Sum of cross-entropies (scalar, float32) of `head(hidden_ND)` with targets (N,), a few rows at a time.

    A head that is a plain linear layer of whole weights is multiplied by its weight, gradient included. Any other (LoRA on it, float16
    autocast whose scaled gradient would underflow unscaled) is called as it is, and called again in the backward pass. One whose weights
    are shards (ZeRO-3, FSDP) is called once for all rows: each call gathers them from all ranks, which have unlike numbers of rows.

    Args:
        head: hidden -> logits (.., V).
        hidden_ND: the rows.
        targets_N: their next tokens.
        elements: logits at once; 0 takes what suits the device.
    """
    if _is_sharded(head):
        return _piece_loss(head, hidden_ND, targets_N)
    rows = _rows(head, hidden_ND.device.type, elements) or len(hidden_ND)
    if _is_plain(head) and _product_type(hidden_ND) != torch.float16:
        total: Tensor = _PlainHead.apply(hidden_ND, targets_N, head.weight, head.bias, rows)
        return total
    if len(hidden_ND) <= rows or not torch.is_grad_enabled():
        pieces = zip(hidden_ND.split(max(rows, 1)), targets_N.split(max(rows, 1)), strict=True)
        return torch.stack([_piece_loss(head, h, t) for h, t in pieces]).sum()
    pieces = zip(hidden_ND.split(rows), targets_N.split(rows), strict=True)
    return torch.stack([checkpoint(_piece_loss, head, h, t, use_reentrant=False) for h, t in pieces]).sum()


def _piece_loss(head: nn.Module, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
    """The sum over a few rows."""
    return functional.cross_entropy(head(hidden_ND).float(), targets_N, reduction="sum")


def piece_bytes(head: nn.Module, count: int, device: str = "cpu") -> int:
    """Bytes of the logits of a piece, of `count` rows in all, in float32."""
    return 4 * _words(head) * min(count, _rows(head, device) or count)


def _rows(head: nn.Module, device: str, elements: int = 0) -> int:
    """Rows of a piece; 0 where a head does not say how many words it has."""
    words = _words(head)
    return max(1, (elements or _ELEMENTS.get(device, _ELEMENTS_ELSEWHERE)) // words) if words else 0


def _words(head: nn.Module) -> int:
    """Words that a head knows; by its largest matrix where it is wrapped, as one some of whose rows are trained."""
    rows = max((p.shape[0] for p in head.parameters() if p.dim() == 2), default=0)
    return int(getattr(head, "out_features", 0) or rows)


def _is_plain(head: nn.Module) -> bool:
    """Whether a head is weight and bias and nothing else, all of them here."""
    hooks = (head._forward_hooks, head._forward_pre_hooks, head._backward_hooks, head._backward_pre_hooks)
    whole = list(head.parameters(recurse=False))
    return type(head) is nn.Linear and not any(hooks) and len(whole) == (1 if head.bias is None else 2) and "forward" not in vars(head)


def _is_sharded(head: nn.Module) -> bool:
    """Whether weights of a head lie on several ranks: marked by ZeRO-3, of FSDP2's own type, or taken out by FSDP1."""
    found = list(head.parameters())
    return not found or any(type(p) is not nn.Parameter or hasattr(p, "ds_id") for p in found)


def _product_type(hidden_ND: Tensor) -> torch.dtype:
    """What products of rows are made in: autocast's type where it is on."""
    device = hidden_ND.device.type
    return torch.get_autocast_dtype(device) if device != "meta" and torch.is_autocast_enabled(device) else hidden_ND.dtype


class _PlainHead(torch.autograd.Function):
    """Loss and its gradients in one pass over pieces of rows."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, targets_N: Tensor, weight_VD: Tensor, bias_V: Tensor | None, rows: int) -> Tensor:
        """Sum of cross-entropies of rows (N, D); keeps gradients (N, D), and (V, D) where the head is trained."""
        wanted = ctx.needs_input_grad
        total = torch.zeros((), device=hidden_ND.device)
        grad_ND = torch.empty_like(hidden_ND) if wanted[0] else None
        grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if wanted[2] else None
        grad_V = torch.zeros_like(bias_V, dtype=torch.float32) if bias_V is not None and wanted[3] else None
        ctx.types = (hidden_ND.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        cast = _product_type(hidden_ND)
        weight_VD = weight_VD.to(cast)  # once, where autocast would do it for every piece
        room = torch.empty(min(rows, len(hidden_ND)), len(weight_VD), dtype=cast, device=hidden_ND.device)  # of all pieces, one by one
        for start in range(0, len(hidden_ND), rows):
            h, target = hidden_ND[start : start + rows].to(cast), targets_N[start : start + rows, None]
            logits = torch.mm(h, weight_VD.t(), out=room[: len(h)])
            logits = (logits if bias_V is None else logits.add_(bias_V)).float()
            chosen, top = logits.gather(1, target), logits.amax(-1, keepdim=True)
            odds = logits.sub_(top).exp_()  # over their sum: probabilities
            norm = odds.sum(-1, keepdim=True)
            total = total + (top + norm.log() - chosen).sum()
            odds = odds.to(cast)
            if grad_ND is not None:  # the probabilities' mean of weights, less the target's weight
                grad_ND[start : start + rows] = (odds @ weight_VD) / norm - weight_VD[target[:, 0]]
            if grad_VD is not None:
                grad_VD += odds.t() @ (h / norm).to(cast)
                grad_VD.index_add_(0, target[:, 0], h.float(), alpha=-1.0)
            if grad_V is not None:
                grad_V += (odds / norm).sum(0)
                grad_V.index_add_(0, target[:, 0], grad_V.new_ones(len(h)), alpha=-1.0)
            del logits, odds
        ctx.save_for_backward(grad_ND, grad_VD, grad_V)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what was kept by the gradient () that comes in."""
        kept: tuple[Tensor | None, ...] = ctx.saved_tensors
        hidden, weight, bias = (None if g is None else (g * grad.to(g.dtype)).to(t) for g, t in zip(kept, ctx.types, strict=True))
        return hidden, None, weight, bias, None
