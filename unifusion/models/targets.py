"""Which layers of a network LoRA goes around, read off the network's structure and never off a model's name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear
from transformers.pytorch_utils import Conv1D

from unifusion.errors import ConfigError, nearest

__all__ = ["linear_targets", "repeated_blocks"]

GROUPS = ("all", "attention", "mlp")
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "head_dim", "attention_head_size")
"""A module that splits its width into heads says so by one of these, in transformers and here alike."""


def linear_targets(part: nn.Module, which: str | Sequence[str] = "all") -> list[str]:
    """Names, below `part`, of the layers that LoRA goes around.

    A block is an element of a list of modules (the innermost, where lists are nested); its attention is what lies below a child that splits
    its width into heads, so that an output projection beside the heads belongs to it. Quantised layers of bitsandbytes are linear layers
    too. Embeddings and the head are none of the blocks'; the output projection of `nn.MultiheadAttention` is read past and never taken.

    Args:
        part: a language model or an encoder.
        which: as `LoraChoices.targets`.

    Raises:
        ConfigError: nothing fits; names some layers that there are.
    """
    head_of: Any = getattr(part, "get_output_embeddings", None)
    head = None if head_of is None else head_of()
    modules = dict(part.named_modules())
    linear = {n for n, m in modules.items() if _is_linear(m) and m is not head}
    kinds = {n: _kind(n, modules) for n in linear}
    if which == "all":
        found = {n for n in linear if kinds[n] is not None}
    elif which in GROUPS:
        found = {n for n in linear if kinds[n] == which}
    else:
        found = _by_name(linear, which)
    if not found:
        shown = sorted({n.rpartition(".")[2] for n in linear})
        guess = f"{nearest(which, list(GROUPS))}; " if isinstance(which, str) and which not in GROUPS else ""
        raise ConfigError(
            f"no linear layer of {type(part).__name__} is one of the targets {which!r};",
            remedy=f"{guess}layers are named {', '.join(shown[:12])}." if shown else "it has no linear layers; train it as a whole.",
        )
    return [n for n in modules if n in found]


def _is_linear(module: nn.Module) -> bool:
    """Whether LoRA can go around it: Linear, what bitsandbytes makes of it (subclasses), and GPT-2's Conv1D."""
    return isinstance(module, nn.Linear | Conv1D) and not isinstance(module, NonDynamicallyQuantizableLinear)


def _kind(name: str, modules: Mapping[str, nn.Module]) -> str | None:
    """`attention` or `mlp` for a layer within a repeated block, None outside of them."""
    parts = name.split(".")
    for at in range(len(parts) - 1, 0, -1):  # the innermost list first; an element that is the layer itself makes no block
        if _is_list(modules[".".join(parts[: at - 1])]):
            child = modules[".".join(parts[: at + 1])]
            return "attention" if any(_has_heads(m) for m in child.modules()) else "mlp"
    return None


def _is_list(module: nn.Module) -> bool:
    """Whether a module holds blocks one after the other: a list, or a sequence of one class."""
    return isinstance(module, nn.ModuleList) or (isinstance(module, nn.Sequential) and len({type(m) for m in module}) == 1)


def _has_heads(module: nn.Module) -> bool:
    """Whether a module says that it splits its width into heads."""
    return any(isinstance(getattr(module, name, None), int) for name in _HEADS)


def _by_name(linear: set[str], which: str | Sequence[str]) -> set[str]:
    """Layers by the ends of their names, or by a regular expression for all of the name."""
    if isinstance(which, str):
        try:
            return {n for n in linear if re.fullmatch(which, n)}
        except re.error as error:
            raise ConfigError(f"the targets {which!r} are no regular expression: {error};", remedy="mend it, or give a list.") from error
    ends = sorted({n.rpartition(".")[2] for n in linear})
    for wanted in which:
        if not any(n == wanted or n.endswith(f".{wanted}") for n in linear):
            raise ConfigError(f"no linear layer is named {wanted!r};", remedy=nearest(wanted, ends))
    return {n for n in linear if any(n == w or n.endswith(f".{w}") for w in which)}


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of the longest ModuleList of a model: its transformer blocks."""
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList)]
    return list(max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=[]))
