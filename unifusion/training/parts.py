"""One table that says of every part of the model how it is trained: frozen, whole or by LoRA, how fast, with what decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch

from unifusion.errors import ConfigError, nearest
from unifusion.models.build import set_trainable
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.models.lora import LoraChoices, add_lora
from unifusion.processor.streams import read_config

__all__ = ["DEFAULT_PARTS", "PartChoices", "apply_parts", "parts_table", "read_parts_table"]

TRAIN = ("frozen", "full", "lora")
DEFAULT_PARTS: dict[str, dict[str, Any]] = {
    "language_model": {"train": "lora", "learning_rate": 1e-4},
    "adapters": {"train": "full", "learning_rate": 5e-4},
    "encoders": {"train": "frozen"},
}
"""What LLaVA-style tuning does most often: adapters whole, the language model by LoRA, encoders not."""


@dataclass(frozen=True, kw_only=True)
class PartChoices:
    """How one part is trained.

    Attributes:
        train: frozen, full or lora.
        learning_rate: None takes the recipe's.
        weight_decay: None takes the recipe's.
        rank, alpha, dropout, variant, targets: of LoRA, see `models/lora.py`.
    """

    train: Literal["frozen", "full", "lora"] = "full"
    learning_rate: float | None = None
    weight_decay: float | None = None
    rank: int = 16
    alpha: float = 32
    dropout: float = 0.0
    variant: str = "lora"
    targets: Any = "all"

    def __post_init__(self) -> None:
        """Refuse another way."""
        if self.train not in TRAIN:
            raise ConfigError(f"a part is trained {self.train!r};", remedy=nearest(str(self.train), list(TRAIN)))

    @property
    def lora(self) -> LoraChoices:
        """Its LoRA."""
        chosen = asdict(self)
        return LoraChoices(**{f.name: chosen[f.name] for f in fields(LoraChoices)})


def read_parts_table(raw: Mapping[str, Any] | None) -> dict[str, PartChoices]:
    """Read a table `part -> choices`, on top of DEFAULT_PARTS; `part: frozen` is short for `part: {train: frozen}`.

    Raises:
        ConfigError: a key or value is unknown, with the nearest match.
    """
    table: dict[str, Any] = {**DEFAULT_PARTS, **(raw or {})}
    out = {}
    for name, choices in table.items():
        given = {"train": choices} if isinstance(choices, str) else choices
        if not isinstance(given, Mapping):
            raise ConfigError(f"part {name!r} has {choices!r};", remedy="write {train: lora, learning_rate: 1e-4}.")
        numbers = {k: _number(k, v, name) if k in ("learning_rate", "weight_decay", "alpha", "dropout") else v for k, v in given.items()}
        out[name] = read_config(PartChoices, numbers, f"part {name!r}")
    return out


def _number(key: str, value: Any, name: str) -> Any:
    """A number; YAML reads `1e-4` as a text."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"part {name!r} has {key} {value!r};", remedy="give a number.") from error


def of_part(table: Mapping[str, PartChoices], name: str) -> PartChoices:
    """The choices of a part: of the longest name in the table that it is or lies below."""
    fitting = [k for k in table if name == k or name.startswith(f"{k}.")]
    return table[max(fitting, key=len)] if fitting else PartChoices(train="frozen")


def part_names(model: UniFusionForConditionalGeneration) -> list[str]:
    """The parts of a model, as the table is printed."""
    return ["language_model", *(f"encoders.{n}" for n in model.encoders), *(f"adapters.{n}" for n in model.adapters)]


def apply_parts(
    model: UniFusionForConditionalGeneration, table: Mapping[str, PartChoices]
) -> tuple[dict[str, float], dict[str, float]]:
    """Freeze, free and put LoRA where the table says; returns learning rates and weight decays by prefix, for FitChoices.

    Raises:
        ConfigError: a name in the table is no part of the model, or an adapter is to have LoRA.
    """
    parts = part_names(model)
    below = [n for n, _ in model.named_parameters()]
    for name, choices in table.items():
        known = any(n == name or n.startswith(f"{name}.") for n in (*parts, *below))
        if not known and name not in DEFAULT_PARTS:
            raise ConfigError(f"no part {name!r} in the model;", remedy=nearest(name, parts))
        if choices.train == "lora" and name.startswith("adapters"):
            raise ConfigError(f"{name} is to be trained by LoRA;", remedy="adapters are small and new: train them full, or not at all.")
    model.requires_grad_(False)
    loras = {p: of_part(table, p).lora for p in parts if of_part(table, p).train == "lora"}
    if loras:
        add_lora(model, loras)
    there = [name for name in table if any(n == name or n.startswith(f"{name}.") for n in below)]
    free = {name: table[name].train == "full" for name in there if table[name].train != "lora"}
    free = {name: on for name, on in free.items() if on or not any(p == name or p.startswith(f"{name}.") for p in loras)}
    if free:
        set_trainable(model, free)
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()  # a bfloat16 weight would lose small steps
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    reached = {name for name in table if any(n.startswith(name) for n in trained)}
    rates = {name: c.learning_rate for name, c in table.items() if c.learning_rate is not None and name in reached}
    decays = {name: c.weight_decay for name, c in table.items() if c.weight_decay is not None and name in reached}
    return rates, decays


def parts_table(
    model: UniFusionForConditionalGeneration, table: Mapping[str, PartChoices], *, learning_rate: float, weight_decay: float
) -> str:
    """For people: each part, its weights, how many are trained, how, how fast, with what decay."""
    lines = [f"{'part':24} {'weights':>15} {'trained':>13}  {'how':28} {'learning rate':>13} {'decay':>7}"]
    for name in part_names(model):
        module, c = model.get_submodule(name), of_part(table, name)
        total, trained = _counts(module)
        if not trained:
            lines.append(f"{name:24} {total:15,} {0:13,}  frozen")
            continue
        how = "whole" if c.train != "lora" else f"{c.variant} of rank {c.rank}, alpha {c.alpha:g}"
        rate = learning_rate if c.learning_rate is None else c.learning_rate
        decay = weight_decay if c.weight_decay is None else c.weight_decay
        lines.append(f"{name:24} {total:15,} {trained:13,}  {how:28} {rate:13.2e} {decay:7.3g}")
    total, trained = _counts(model)
    lines.append(f"{'all':24} {total:15,} {trained:13,}  ({trained / max(total, 1):.2%})")
    return "\n".join(lines)


def _counts(module: torch.nn.Module) -> tuple[int, int]:
    """Weights of a module and those trained; one that is stored in four bits counts as often as it stands for a number."""

    def size(parameter: torch.nn.Parameter) -> int:
        state = getattr(parameter, "quant_state", None)
        return int(state.shape.numel()) if state is not None else parameter.numel()

    parameters = list(module.parameters())
    return sum(size(p) for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
