"""Bytes of weights, gradients and optimizer states, with and without ZeRO, and the operations of a step.

With ZeRO these are DeepSpeed's documented formulas (deepspeed.readthedocs.io, "Memory Requirements"; `estimate_zero2_` and
`estimate_zero3_model_states_mem_needs`), for stage 1 those of Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion
Parameter Models" (2020). They count weights that are trained; frozen ones are added here at their own size.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from unifusion.errors import ConfigError

__all__ = ["BudgetChoices", "States", "Weights", "attention_flops", "states", "step_flops", "weigh"]

_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
_QUANTISED = {"": None, "int8": 1.0, "nf4": 0.5 + 4 / 64}
"""Bytes of a frozen weight: int8 has a scale a row, which is nothing; nf4 a float32 for each 64 (Dettmers et al., "QLoRA", 2023)."""
_OPTIMIZER = {"adamw": 2.0, "adamw8bit": 0.5 + 2 * 4 / 256 / 4, "sgd": 0.0}
"""States in units of a float32 weight; 8 bit: two bytes, and two float32 for each 256."""
_BUFFER = 1.5
"""DeepSpeed's factor on what it keeps in the host's memory."""


@dataclass(frozen=True, kw_only=True)
class BudgetChoices:
    """How a step is to be run on one device.

    `tokens` are those of one step on one device, padding included: the limit of a pack, or rows times the longest.
    """

    tokens: int = 4096
    labelled: float = 0.35
    """Share of positions that are supervised."""
    weights: str = "float32"
    """float32 or bfloat16: how weights are stored."""
    precision: str = "float32"
    """float32 or bfloat16: what products are made in (autocast where weights are float32)."""
    quantised: str = ""
    """int8 or nf4: the frozen matrices of the language model."""
    optimizer: str = "adamw"
    """adamw, adamw8bit or sgd (without momentum)."""
    checkpointing: bool = False
    stage: int = 0
    """ZeRO: 0 (none, also DDP), 1, 2 or 3."""
    offload: str = ""
    """optimizer (states and gradients to the host) or all (with stage 3 weights too)."""
    world: int = 1
    """Devices."""

    def __post_init__(self) -> None:
        """Refuse what does not exist."""
        known: dict[str, Collection[Any]] = {
            "weights": _BYTES, "precision": _BYTES, "quantised": _QUANTISED, "optimizer": _OPTIMIZER,
            "stage": (0, 1, 2, 3), "offload": ("", "optimizer", "all"),
        }  # fmt: skip
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"a budget with {name}={getattr(self, name)!r};", remedy=f"take one of {', '.join(map(repr, values))}.")
        if self.offload and (self.stage < 2 or (self.offload == "all" and self.stage < 3)):
            raise ConfigError(
                f"offload {self.offload!r} with ZeRO stage {self.stage};", remedy="optimizer needs stage 2 or 3, all needs 3."
            )
        if self.tokens < 1 or self.world < 1 or not 0 < self.labelled <= 1:
            raise ConfigError(
                f"tokens={self.tokens}, world={self.world}, labelled={self.labelled};", remedy="take 1 or more, and a share above 0."
            )


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights of a model, each tied one once.

    Attributes:
        trained: how many are trained.
        frozen: how many are not, `matrices` of them linear layers of the language model (what is quantised).
        linear: weights of the language model that tokens are multiplied by, head and embeddings left out, `linear_trained` of them trained.
        largest: of the module with most of its own, which ZeRO-3 gathers whole.
    """

    trained: int
    frozen: int
    matrices: int
    linear: int
    linear_trained: int
    largest: int


def weigh(model: Any) -> Weights:
    """Count the weights of a chat model, also on the meta device.

    Raises:
        ConfigError: its weights are quantised already, so that their number cannot be told.
    """
    everything = list(model.parameters())
    if any(not (p.is_floating_point() or p.is_complex()) for p in everything):
        raise ConfigError("the weights of the model are quantised;", remedy="give the model before quantisation, and say quantised=...")
    lm = model.language_model
    outside = {id(m.weight) for m in (lm.get_input_embeddings(), lm.get_output_embeddings()) if m is not None}
    linear = [p for p in lm.parameters() if p.dim() > 1 and id(p) not in outside]
    return Weights(
        trained=sum(p.numel() for p in everything if p.requires_grad),
        frozen=sum(p.numel() for p in everything if not p.requires_grad),
        matrices=sum(p.numel() for p in linear if not p.requires_grad),
        linear=sum(p.numel() for p in linear),
        linear_trained=sum(p.numel() for p in linear if p.requires_grad),
        largest=max(sum(p.numel() for p in m.parameters(recurse=False)) for m in model.modules()),
    )


@dataclass(frozen=True, kw_only=True)
class States:
    """Bytes on one device, and on its host (of all devices together)."""

    weights: int
    gradients: int
    optimizer: int
    host: int = 0


def states(found: Weights, c: BudgetChoices) -> States:
    """Bytes of a model's states on each of `c.world` devices of one node."""
    stored = _BYTES[c.weights]
    packed = _QUANTISED[c.quantised]
    frozen = found.frozen * stored if packed is None else (found.frozen - found.matrices) * stored + found.matrices * packed
    if not c.stage:
        return States(
            weights=int(frozen + found.trained * stored), gradients=int(found.trained * stored),
            optimizer=int(found.trained * stored * _OPTIMIZER[c.optimizer]),
        )  # fmt: skip
    half = 2.0 if c.precision != "float32" else 4.0
    if packed is None:
        frozen = found.frozen * half
    n, moments = c.world, 4 * _OPTIMIZER[c.optimizer]
    mixed = half == 2.0
    own, full = half, 4.0  # a weight as the model has it; a float32 gradient and a float32 copy beside it
    if c.offload:
        return _offloaded(found, c, frozen, half, moments)
    optimizer = found.trained * (full + moments) / n
    if c.stage == 3:
        gradients = found.trained * full / n
        weights = (frozen + found.trained * own) / n + 2 * half * found.largest
    else:
        gradients = found.trained * (own / (n if c.stage == 2 else 1) + (full / n if mixed else 0.0))
        weights = frozen + found.trained * own
    return States(weights=int(weights), gradients=int(gradients), optimizer=int(optimizer))


def _offloaded(found: Weights, c: BudgetChoices, frozen: float, half: float, moments: float) -> States:
    """States with the optimizer, or all, in the host's memory (of all devices together)."""
    largest = 2 * half * found.largest
    if c.stage == 2:
        host = found.trained * max(4 * c.world, 8 + moments) * _BUFFER
        return States(weights=int(frozen + found.trained * half), gradients=0, optimizer=0, host=int(host))
    if c.offload == "optimizer":
        host, weights = found.trained * (8 + moments) * _BUFFER, (frozen + found.trained * half) / c.world + largest
    else:
        host, weights = (found.trained * (8 + moments + half) + frozen) * _BUFFER, largest
    return States(weights=int(weights), gradients=0, optimizer=0, host=int(host))


def attention_flops(config: Any, lengths: Sequence[int]) -> float:
    """Operations of causal attention's scores and sums in a forward pass over sequences: 2 L^2 x width a layer, within its window."""
    heads = getattr(config, "num_attention_heads", 0)
    width = heads * (getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // max(heads, 1))
    layers, window = getattr(config, "num_hidden_layers", 0), getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"] * layers
    total = 0.0
    for sliding in (True, False):
        count = sum((kind == "sliding_attention") == sliding for kind in kinds)
        reach = window if sliding and window else max(lengths, default=0)
        total += count * sum(2.0 * width * n * min(n, reach) * (1 if n <= reach else 2 - reach / n) for n in lengths)
    return total


def step_flops(model: Any, lengths: Sequence[int], c: BudgetChoices) -> float:
    """Operations of one training step of a language model over sequences of real tokens.

    2 a weight and token forward, 2 backward through it, 2 more for a weight that is trained: 6N in full, 4N frozen (behind adapters that
    are trained); 2 more with checkpointing. The head counts for supervised tokens only. Attention goes backward at twice its forward cost.
    """
    found, tokens = weigh(model), float(sum(lengths))
    lm = model.language_model
    head: nn.Module = lm.get_output_embeddings()
    again = 1.0 if c.checkpointing else 0.0
    head_size = sum(p.numel() for p in head.parameters())
    trained_head = any(p.requires_grad for p in head.parameters())
    body = tokens * ((4.0 + 2.0 * again) * found.linear + 2.0 * found.linear_trained)
    top = tokens * c.labelled * head_size * (6.0 if trained_head else 4.0)
    return body + top + (3.0 + again) * attention_flops(lm.config, lengths)


def dtype_of(name: str) -> torch.dtype:
    """A type of torch by its name in the choices."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
