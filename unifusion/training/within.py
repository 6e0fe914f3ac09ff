"""Whether a run fits, by the budget: before its first step with the real model, or planned without any weight (`--dry-run`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from unifusion.errors import ConfigError, UniFusionError
from unifusion.models.config import UniFusionConfig
from unifusion.models.language_model import is_quantized
from unifusion.processor import Row, StreamSpec, UniFusionProcessor
from unifusion.training.budget import Budget, BudgetChoices, check, estimate, planned_model
from unifusion.training.launch import is_first, world_size
from unifusion.training.parts import apply_parts, parts_table, read_parts_table
from unifusion.training.tune_choices import specs_of

__all__ = ["available_bytes", "check_budget", "dry_run"]

log = logging.getLogger(__name__)
_SAMPLE = 32
_BYTES_A_TOKEN = 3.5
"""Of English text, about, for a vocabulary of 32,000 or more."""
_STAGES = {"zero1": 1, "zero2": 2, "zero3": 3, "zero3_offload": 3, "fsdp2": 3}


def available_bytes() -> int | None:
    """Memory of this process's device: the GPU's, or what the machine has left for each process; None where nobody says."""
    if torch.cuda.is_available():
        return int(0.95 * torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)
    return None if free is None else free // world_size()


def budget_choices(c: Any, tokens: int, *, labelled: float, world: int) -> BudgetChoices:
    """A recipe's choices as the budget has them."""
    bf16 = c.precision == "bfloat16" or (c.precision == "auto" and torch.cuda.is_available())
    deepspeed = c.strategy.startswith("zero")
    stage = _STAGES.get(c.strategy, 0) if world > 1 else 0
    return BudgetChoices(
        tokens=tokens, labelled=labelled, weights="bfloat16" if c.weights == "bfloat16" or (deepspeed and bf16) else "float32",
        precision="bfloat16" if bf16 else "float32", quantised={"4bit": "nf4", "8bit": "int8"}.get(c.quantize or "", ""),
        checkpointing=c.gradient_checkpointing, stage=stage, world=world,
        offload="all" if c.strategy == "zero3_offload" and stage else "",
    )  # fmt: skip


def sampled(rows: Any, most: int = _SAMPLE) -> list[Row]:
    """Some rows, evenly spaced; those that cannot be read are left to the run."""
    step = max(1, len(rows) // most)
    found, bad = [], []
    for index in range(0, len(rows), step)[:most] if step > 1 else range(min(len(rows), most)):
        try:
            found.append(rows[index])
        except UniFusionError as error:
            bad.append(f"{rows.name(index)}: {error}")
    if bad:
        log.warning("%d of %d rows looked at for the budget cannot be read, the first is %s", len(bad), len(bad) + len(found), bad[0])
    return found


def check_budget(c: Any, made: Any, rows: Any, *, available_gb: float | None) -> None:
    """Estimate memory from a sample of rows, say it, and refuse a run that does not fit.

    Raises:
        ConfigError: a step does not fit; says what would make it.
        LimitError: one row does not.
    """
    if not is_first():
        return
    sample = sampled(rows)
    if not sample:
        return
    longest = max(len(r.ids) for r in sample)
    tokens = c.pack or longest * max(1, c.batch_size // world_size())
    supervised = sum(label != -100 for r in sample for label in r.labels)
    labelled = max(0.01, min(1.0, supervised / max(1, sum(len(r.ids) for r in sample))))
    chosen = budget_choices(c, max(tokens, longest), labelled=labelled, world=world_size())
    model = made.model
    if is_quantized(model.language_model):  # its shapes, without its weights
        model = planned_model(model.config, {"language_model": False, "adapters": True})
    found = estimate(model, made.processor, sample, chosen)
    log.info("budget of a step on one device, by estimate:\n%s", found.table())
    there = int(available_gb * 1e9) if available_gb else available_bytes()
    if there is not None:
        check(found, there)


def dry_run(c: Any, *, devices: int) -> str:
    """Check all that can be without weights, and estimate memory and time; returns what to print.

    Choices, parts and streams are those of the run. Shapes come from the language model's and encoders' config.json, or from the
    recipe's `plan` where these cannot be had; rows from the data where it is there.

    Args:
        c: choices of `train/tune.py`.
        devices: how many there will be.

    Raises:
        ConfigError: a choice that cannot be, or nothing says what the model looks like.
        DatasetError: a row that cannot be asked about.
    """
    plan = dict(c.plan or {})
    config, processor, known = _planned(c, plan)
    model = planned_model(config)
    table = read_parts_table(c.parts)
    apply_parts(model, table)
    lines = [f"shapes: {known}", "", parts_table(model, table, learning_rate=c.learning_rate, weight_decay=c.weight_decay), ""]
    rows, count = _rows(c, processor, plan)
    lengths = [_length(r) if isinstance(r, Row) else r for r in rows]
    tokens = c.pack or max(lengths) * max(1, c.batch_size // devices)
    found = estimate(model, processor, rows, budget_choices(c, tokens, labelled=float(plan.get("labelled", 0.35)), world=devices))
    lines += [found.table(), "", *_times(c, plan, found, sum(lengths) / len(lengths), count, devices)]
    gigabytes = float(plan.get("gigabytes", 0.0) or c.available_gb or 0.0)
    if gigabytes:
        check(replace(found, lengths=replace(found.lengths, values=tuple(lengths))), int(gigabytes * 1e9))
        lines.append(f"fits into {gigabytes:g} GB a device, by estimate")
    return "\n".join(lines)


def _times(c: Any, plan: Mapping[str, Any], found: Budget, mean: float, count: int, devices: int) -> list[str]:
    """Steps and hours."""
    named, mfu = str(plan.get("device", "h100")), float(plan.get("mfu", 0.35))
    device: str | float = float(named) if named[0].isdigit() else named
    rows_a_step = c.batch_size * c.accumulate if not c.pack else max(1, int(c.pack * devices * c.accumulate / mean))
    steps = c.steps or int(-(-c.epochs * count // rows_a_step))
    hours = found.hours(device, epochs=steps * rows_a_step / len(found.lengths.values), mfu=mfu)
    return [
        f"{count:,} rows, {mean:,.0f} tokens each, {rows_a_step} rows a step, {steps:,} steps",
        f"{hours:,.1f} hours on {devices} x {_called(device)} at {mfu:.0%} of its operations (estimate; encoders and decoding not counted)",
    ]


def _called(device: str | float) -> str:
    """A device, or its operations a second."""
    return device if isinstance(device, str) else f"a device of {device / 1e12:g} TFLOP/s"


def _planned(c: Any, plan: Mapping[str, Any]) -> tuple[UniFusionConfig, UniFusionProcessor, str]:
    """Config and processor of the model, and where they come from."""
    if not c.llm or not c.streams:
        raise ConfigError("a dry run needs a language model and streams;", remedy="name --llm and --streams.")
    told = []
    try:
        text, tokenizer = AutoConfig.from_pretrained(c.llm, revision=c.revision), AutoTokenizer.from_pretrained(c.llm, revision=c.revision)
        told.append(f"{c.llm} from its config.json")
    except (OSError, ValueError) as error:
        if "llm" not in plan:
            raise ConfigError(
                f"cannot read the config of {c.llm!r}: {str(error).splitlines()[0]};",
                remedy="give its folder, or write its shape under `plan: {llm: {model_type: qwen3, ..}}`.",
            ) from error
        text, tokenizer = AutoConfig.for_model(**plan["llm"]), _bytes_tokenizer()
        told.append(f"{c.llm} as the plan has it (text counted as {_BYTES_A_TOKEN} bytes a token)")
    specs: dict[str, StreamSpec] = {}
    for name, spec in specs_of(c.streams).items():
        shape = (plan.get("streams") or {}).get(name)
        try:
            specs[name] = StreamSpec.from_dict(spec.to_dict())
            told.append(f"{name} from its source" if spec.encoder_config.get("source") else f"{name} inline")
        except UniFusionError:
            if shape is None:
                raise
            inline = {k: v for k, v in spec.encoder_config.items() if k not in ("source", "revision")}
            specs[name] = replace(spec, encoder_config={**inline, "backbone": dict(shape)})
            told.append(f"{name} as the plan has it")
    processor = UniFusionProcessor(tokenizer, streams=specs, fused=c.fused, window_s=c.window_s, max_seconds=c.max_seconds)
    config = UniFusionConfig(
        text_config=text, streams=processor.streams, placeholder_ids=processor.placeholder_ids, fused=processor.fused
    )  # fmt: skip
    return config, processor, "; ".join(told)


def _rows(c: Any, processor: UniFusionProcessor, plan: Mapping[str, Any]) -> tuple[list[Row | int], int]:
    """A sample of rows, and how many there are; by the plan where there is no data yet."""
    from unifusion.training.corpus import Corpus, Rows

    if c.data:
        corpus = Corpus(c.data, data=c.data_root, split="train", count=c.rows_per_epoch, seed=c.seed, task=c.task)
        found = [Rows(corpus, processor, max_tokens=10 * c.max_tokens)[i] for i in range(min(len(corpus), _SAMPLE))]
        return list(found), len(corpus)
    if not {"tokens", "rows"} <= set(plan):
        raise ConfigError("there is no data to look at;", remedy="name --data, or write `plan: {rows: 100000, tokens: 1500}`.")
    lengths: list[Row | int] = [int(plan["tokens"])]
    return lengths, int(plan["rows"])


def _length(row: Row) -> int:
    """Tokens of a row: those of its media, and its text at so many bytes a token where only bytes are known."""
    media = sum(len(s.token_times_Q) for clip in row.media for s in clip.streams.values())
    return int(media + (len(row.ids) - media) / _BYTES_A_TOKEN) + 1


def _bytes_tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte: stands for a tokenizer that is not at hand."""
    alphabet: Sequence[str] = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")
