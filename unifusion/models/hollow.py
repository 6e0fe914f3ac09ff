"""Modules without their weights: what a pass calls and holds, found where the weights are not, or would take too much memory."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["encoder_without_weights", "on_meta", "zeroed"]


def on_meta(module: nn.Module) -> Any:
    """A copy of a module whose weights are on the meta device, with their `requires_grad`: it takes no memory."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, memo)


def zeroed(module: nn.Module) -> Any:
    """A copy of a module on the CPU, all of whose weights and buffers are zero."""
    own = on_meta(module).to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*own.parameters(), *own.buffers()):
            tensor.zero_()
    return own


def encoder_without_weights(encoder: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """A copy of an encoder, and what its `encode_chunks` takes, for a pass over shapes.

    Both are on the meta device but for integers, by which encoders decide (how many samples of a chunk are sound). A text encoder is on the
    CPU, with weights of zero: transformers asks whether its mask has padding, which a meta tensor cannot say.

    Args:
        encoder: on any device.
        tensors: (C, ..) as `preprocess` makes them, on the CPU.
    """
    text = encoder.modality == "text"
    own = zeroed(encoder) if text else on_meta(encoder)
    kind = next(own.parameters()).dtype
    place = "cpu" if text else "meta"
    return own, {n: t.to(place, kind) if t.is_floating_point() else t for n, t in tensors.items()}
