"""Whether a run fits, before its first step: memory by what takes it, tokens of the examples, time. All figures are estimates.

```
found = estimate(model, processor, rows, BudgetChoices(tokens=8192, checkpointing=True, precision="bfloat16", weights="bfloat16"))
print(found.table())
check(found, 80 * 10**9)
```
`model` may lie on the meta device (`planned_model`), so that a model of 8 billion weights is estimated without one. Held against the peak
of real steps on a CPU in tests/training/test_budget.py; CUDA's context, fragmentation and ZeRO's buckets come on top.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from unifusion.batch import Features
from unifusion.errors import ConfigError, LimitError
from unifusion.models.build import set_trainable
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.models.config import UniFusionConfig
from unifusion.models.head import piece_bytes
from unifusion.processor import Row, UniFusionProcessor
from unifusion.training.model_states import BudgetChoices, States, Weights, dtype_of, states, step_flops, weigh
from unifusion.training.step_memory import StepMemory, adapter_step, encoder_step, language_step

__all__ = ["Budget", "BudgetChoices", "Lengths", "check", "estimate", "planned_model"]

PEAK_FLOPS = {"a100": 312e12, "h100": 989e12, "h200": 989e12}
"""Dense bfloat16 operations a second, by the makers' data sheets (SXM)."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Tokens of examples.

    Attributes:
        values: of each.
        names: what errors call them.
    """

    values: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[Row | int]) -> Lengths:
        """Those of rows, or numbers as they are."""
        values = tuple(r if isinstance(r, int) else len(r.ids) for r in rows)
        names = tuple(f"number {i}" if isinstance(r, int) or not r.id else r.id for i, r in enumerate(rows))
        if not values:
            raise ConfigError("no examples to make a budget for;", remedy="give a sample of rows, or their lengths.")
        return cls(values=values, names=names)

    def __str__(self) -> str:
        """Least, median, 95th percentile, greatest."""
        ordered = sorted(self.values)
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return f"min {ordered[0]:,}, median {median(ordered):,.0f}, p95 {p95:,}, max {ordered[-1]:,} ({len(ordered):,} examples)"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a step takes on one device. Bytes; `peak` is less than the sum, since gradients grow while activations go."""

    choices: BudgetChoices
    lengths: Lengths
    weights: Weights
    states: States
    activations: int
    """The most that forward and backward pass hold at once, gradients of weights left out; encoders and adapters are in it."""
    media: int
    """Of these, what adapters keep and encoders take in passing."""
    head: int
    """Of these, logits of the loss."""
    peak: int
    per_token: float
    """What a further token adds."""
    checkpointed_peak: int
    """The peak with gradient checkpointing."""
    flops_per_token: float

    def at(self, tokens: int) -> int:
        """The peak of a step of so many tokens."""
        return int(self.peak + (tokens - self.choices.tokens) * self.per_token)

    def most_tokens(self, available_bytes: int) -> int:
        """The greatest step that fits; 0 where none does."""
        return max(0, int(self.choices.tokens + (available_bytes - self.peak) / self.per_token))

    def hours(self, device: str | float, *, epochs: float = 1.0, mfu: float = 0.35) -> float:
        """Estimated hours over all examples given, on `choices.world` devices at a share `mfu` of the device's operations a second.

        Args:
            device: a100, h100, h200, or operations a second.
        """
        if isinstance(device, str) and device not in PEAK_FLOPS:
            raise ConfigError(f"no device {device!r};", remedy=f"take {', '.join(PEAK_FLOPS)}, or give operations a second.")
        rate = PEAK_FLOPS[device] if isinstance(device, str) else device
        return float(epochs * sum(self.lengths.values) * self.flops_per_token / (rate * mfu * self.choices.world) / 3600)

    def table(self) -> str:
        """For people; every figure is an estimate."""
        c, s = self.choices, self.states
        zero = f"ZeRO-{c.stage} over {c.world}" + (f", {c.offload} offloaded" if c.offload else "") if c.stage else f"{c.world} device(s)"
        lines = [
            ("weights", s.weights, f"{self.weights.trained:,} trained, {self.weights.frozen:,} frozen {c.quantised or c.weights}"),
            ("gradients", s.gradients, zero),
            ("optimizer states", s.optimizer, c.optimizer),
            ("activations", self.activations, f"{c.tokens:,} tokens, checkpointing {'on' if c.checkpointing else 'off'}, {c.precision}"),
            ("  of these media", self.media, "adapters' activations; encoders in passing"),
            ("  of these the loss", self.head, f"{c.labelled:.0%} of positions supervised"),
            ("peak", self.peak, f"estimate; {self.per_token:,.0f} bytes a further token"),
        ]
        lines += [("host", s.host, "all devices of the node together")] if s.host else []
        rows = [f"{name:20} {size / 1e9:9.3f} GB  {told}" for name, size, told in lines]
        flops = f"{self.flops_per_token / 1e9:.2f} GFLOP a token (estimate, language model)"
        return "\n".join([*rows, f"{'tokens an example':20} {self.lengths}", f"{'operations':20} {flops}"])


def planned_model(config: UniFusionConfig, trainable: Mapping[str, bool] | None = None) -> UniFusionForConditionalGeneration:
    """A chat model on the meta device: no weights, no memory, but every shape. Encoders are frozen unless `trainable` says otherwise.

    Args:
        config: of the model; its `text_config` may be that of any causal language model.
        trainable: as `set_trainable` takes it.
    """
    with torch.device("meta"):
        model = UniFusionForConditionalGeneration(config)
    parts = {"encoders": False} if any(True for _ in model.encoders.parameters()) else {}
    set_trainable(model, {**parts, **(trainable or {})})
    return model


def estimate(model: Any, processor: UniFusionProcessor | None, rows: Sequence[Row | int], choices: BudgetChoices | None = None) -> Budget:
    """Estimate a step's memory and operations.

    Args:
        model: a chat model, on any device or on meta, with what it trains set; or its UniFusionConfig (all but encoders trained).
        processor: makes the media of rows; None where `rows` are numbers.
        rows: examples, or their tokens. What encoders and adapters take is counted from the row with most media tokens.
        choices: how the step is run.

    Raises:
        ConfigError: no examples, or weights that are quantised already.
    """
    c = choices or BudgetChoices()
    model = planned_model(model) if isinstance(model, UniFusionConfig) else model
    lengths, found = Lengths.of(rows), weigh(model)
    held = states(found, c)
    encoders, adapters = _media(model, processor, [r for r in rows if isinstance(r, Row)], c)
    extra = _casts(found, c)

    def peak(tokens: int, checkpointing: bool) -> tuple[int, int]:
        """Peak of all, and most of activations alone."""
        step = _language(model, tokens, c, checkpointing)
        share = held.gradients / max(step.events[-1][1], 1)  # the step's gradients have its own type, and are whole
        passing = max(step.peak(share) + adapters + extra, encoders, held.gradients)
        return held.weights + held.optimizer + passing, max(step.peak(0.0) + adapters + extra, encoders)

    whole, activations = peak(c.tokens, c.checkpointing)
    checkpointed = whole if c.checkpointing else peak(c.tokens, True)[0]
    half = max(1, c.tokens // 2)
    slope = (whole - peak(half, c.checkpointing)[0]) / max(1, c.tokens - half)
    return Budget(
        choices=c, lengths=lengths, weights=found, states=held, activations=activations, media=max(adapters, encoders),
        head=_head(model, c), peak=whole, per_token=max(slope, 1.0), checkpointed_peak=checkpointed,
        flops_per_token=step_flops(model, lengths.values, c) / sum(lengths.values),
    )  # fmt: skip


def _language(model: Any, tokens: int, c: BudgetChoices, checkpointing: bool) -> StepMemory:
    """The language model's part of a step."""
    labelled = max(1, round(tokens * c.labelled))
    return language_step(model.language_model, tokens, labelled, checkpointing=checkpointing, dtype=dtype_of(c.precision))


def _casts(found: Weights, c: BudgetChoices) -> int:
    """Copies of matrices that autocast makes and the backward pass needs."""
    casts = c.weights == "float32" and c.precision != "float32" and not c.stage and not c.quantised and not c.checkpointing
    return 2 * found.linear if casts else 0


def _head(model: Any, c: BudgetChoices) -> int:
    """Bytes of the logits of a piece of the loss."""
    return piece_bytes(model.get_output_embeddings(), max(1, round(c.tokens * c.labelled)))


def _media(model: Any, processor: UniFusionProcessor | None, rows: Sequence[Row], c: BudgetChoices) -> tuple[int, int]:
    """Bytes that encoders take in passing and that adapters keep, from the row with most media scaled to the tokens of a step."""
    shown = [r for r in rows if r.media]
    if processor is None or not shown:
        return 0, 0
    row = max(shown, key=lambda r: sum(len(s.token_times_Q) for clip in r.media for s in clip.streams.values()))
    share = max(1.0, c.tokens / len(row.ids))
    encoders, kept, features = 0, 0, {}
    for name, batch in processor.media([row]).items():
        if name not in model.specs:
            continue
        if "tokens" not in batch:
            tensors = {k: v for k, v in batch.items() if k not in ("rows", "times", "mask", "chunks")}
            step = encoder_step(model.encoders[name], tensors)
            trained = any(p.requires_grad for p in model.encoders[name].parameters())
            encoders = max(encoders, int(share * step.peak(0.0)))
            kept += int(share * step.kept) if trained else 0
            kept += int(share * sum(t.numel() * t.element_size() for t in tensors.values()))
        width = model.adapters[name].in_width
        features[name] = Features(tokens_BSD=torch.zeros(*batch["times"].shape, width), mask_BS=batch["mask"], times_BS=batch["times"])
        kept += int(share * (features[name].tokens_BSD.nbytes + adapter_step(model.adapters[name], features[name]).kept))
    for name, fusion in model.fusions.items():
        joint = processor.media([row]).get(name)
        if joint is not None:
            places = {s: joint[f"of_{s}"] for s in fusion.of}
            kept += int(share * adapter_step(model.adapters[name], {s: features[s] for s in fusion.of if s in features}, places).kept)
    return encoders + kept, kept


def check(budget: Budget, available_bytes: int) -> None:
    """Return if a run fits into `available_bytes` of a device.

    Raises:
        LimitError: an example does not fit by itself; names it.
        ConfigError: a step does not fit; says what would make it.
    """
    lengths, c = budget.lengths, budget.choices
    longest = max(range(len(lengths.values)), key=lambda i: lengths.values[i])
    tokens, most = lengths.values[longest], budget.most_tokens(available_bytes)
    if tokens > most > 0 or tokens > c.tokens:
        limit = min(most, c.tokens) if most else c.tokens
        count = sum(n > limit for n in lengths.values)
        raise LimitError(
            f"example {lengths.names[longest]} has {tokens:,} tokens and takes {_gb(budget.at(tokens))} by itself; a step may have"
            f" {limit:,} tokens ({_gb(available_bytes)} are there), and {count:,} of {len(lengths.values):,} examples are longer;",
            remedy=f"shorten them by processor.fit(.., max_tokens={limit}){_changes(budget, available_bytes, tokens=False)}.",
        )
    if budget.peak > available_bytes:
        raise ConfigError(
            f"a step of {c.tokens:,} tokens takes {_gb(budget.peak)} by estimate, {_gb(available_bytes)} are there;",
            remedy=f"change{_changes(budget, available_bytes, tokens=True).removeprefix(', or')}.",
        )


def _gb(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e9:.2f} GB"


def _changes(budget: Budget, available_bytes: int, *, tokens: bool) -> str:
    """What could be changed, with the peak it would bring; nothing that brings less than a hundredth."""
    c, most = budget.choices, budget.most_tokens(available_bytes)
    base = budget.peak - budget.states.weights - budget.states.optimizer
    others = {
        "weights in bfloat16": replace(c, weights="bfloat16") if c.weights == "float32" and not c.stage else c,
        "frozen weights in nf4": replace(c, quantised="nf4") if not c.quantised and budget.weights.matrices else c,
        f"ZeRO-3 over {max(8, c.world)} devices": replace(c, stage=3, world=max(8, c.world)) if c.stage < 3 else c,
    }
    peaks = {"gradient checkpointing": budget.checkpointed_peak}
    for name, other in others.items():
        held = states(budget.weights, other)
        peaks[name] = held.weights + held.optimizer + min(base, budget.activations + held.gradients)
    found = [f"at most {most:,} tokens a step"] if tokens and most >= max(budget.lengths.values) else []
    found += [f"{name} ({_gb(size)})" for name, size in peaks.items() if size < 0.99 * budget.peak]
    return "".join(f", or {text}" for text in found) or ", or a device with more memory"
