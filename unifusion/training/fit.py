"""The one training loop: Hugging Face Trainer underneath, with what our recipes need around it."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import TrainerCallback, TrainingArguments
from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.deepspeed import unset_hf_deepspeed_config
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from unifusion import atomic
from unifusion.errors import ConfigError, Interrupted, nearest
from unifusion.training import journal, snapshot
from unifusion.training.launch import alone_under_torchrun, everyone_waits, is_first, rows_each, world_size
from unifusion.training.memory import keep_freed_memory
from unifusion.training.order import Order
from unifusion.training.strategy import deepspeed_config, frozen_aside
from unifusion.training.tensors import load_trained, plain_name, trained_state
from unifusion.training.trainer import BEST, FitTrainer, Plan

__all__ = ["SCHEDULES", "FitChoices", "check_launch", "fit", "load_trained", "trained_state"]

log = logging.getLogger(__name__)
SCHEDULES = ("cosine", "one_cycle", "constant", "linear")
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class FitChoices:
    """How long, how fast, how often.

    `rates` and `decays` give learning rate and weight decay by part of the model (`adapters.audio`), the longest name that fits;
    `learning_rate` and `weight_decay` are for the rest.
    """

    steps: int = 1000
    batch_size: int = 16
    """Rows of a step, over all processes."""
    accumulate: int = 1
    learning_rate: float = 1e-3
    rates: Mapping[str, float] | None = None
    weight_decay: float = 0.05
    decays: Mapping[str, float] | None = None
    warmup: float = 0.03
    schedule: str = "cosine"
    """cosine (to a fiftieth), one_cycle (from a 25th up and down to nothing, both along a cosine), constant, or linear (to zero)."""
    max_grad_norm: float = 1.0
    beta2: float = 0.98
    seed: int = 0
    workers: int = 0
    worker_timeout_s: float = 50.0
    """Seconds without a batch after which a data worker counts as stuck."""
    on_bad_media: str = "stop"
    """stop at a row that cannot be read, or skip it: it is listed in quarantine.jsonl."""
    max_bad: float = 0.05
    """Share of such rows above which the run stops all the same."""
    max_skipped: int = 3
    """Steps in a row that may be left out because their loss or gradient is not finite."""
    save_every: int = 500
    keep: int = 2
    """Checkpoints that stay."""
    log_every: int = 20
    evaluate_every: int = 0
    """Steps between two looks at held-out rows; 0 never looks."""
    patience: int = 0
    """Looks without a better loss after which the run ends; 0 goes on."""
    n_best: int = 1
    """How many of the best weights met on held-out rows stay: `best`, `best-2` .."""
    use_best: bool = False
    """End with the best weights met on held-out rows instead of the last."""
    compile: bool = False
    gradient_checkpointing: bool = False
    precision: str = "auto"
    """float32, bfloat16 (autocast; weights stay float32), or auto: bfloat16 where the processor multiplies it natively."""
    strategy: str = "ddp"
    """How several processes hold the model: ddp, fsdp2, zero1, zero2, zero3, zero3_offload, or a DeepSpeed file.json."""
    report_to: str = "none"
    """Also log to tensorboard, wandb, mlflow, trackio .., by commas."""

    @classmethod
    def of(cls, choices: Any) -> FitChoices:
        """Those of a recipe's choices that are about fitting, by their names."""
        return cls(**{f.name: getattr(choices, f.name) for f in fields(cls) if hasattr(choices, f.name)})

    def check(self) -> FitChoices:
        """Return self.

        Raises:
            ConfigError: a choice has a value that nothing stands for.
        """
        for key, known in (("schedule", SCHEDULES), ("on_bad_media", ("stop", "skip")), ("precision", PRECISIONS)):
            if getattr(self, key) not in known:
                raise ConfigError(f"{key} is {getattr(self, key)!r};", remedy=nearest(str(getattr(self, key)), list(known)))
        least = {**dict.fromkeys(("steps", "batch_size", "accumulate", "save_every", "keep", "n_best", "log_every"), 1),
                 "workers": 0, "patience": 0, "evaluate_every": 0, "warmup": 0, "max_grad_norm": 0, "max_skipped": 0, "max_bad": 0,
                 "weight_decay": 0}  # fmt: skip
        for key, most in least.items():
            if not getattr(self, key) >= most:
                raise ConfigError(f"{key} is {getattr(self, key)};", remedy=f"take {most} or more.")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate is {self.learning_rate};", remedy="take more than 0, such as 1e-4.")
        if self.patience and not self.evaluate_every:
            raise ConfigError("patience is set and nothing is looked at;", remedy="say how often, by evaluate_every.")
        _reported(self.report_to)
        deepspeed_config(self.strategy)
        return self


def _reported(services: str) -> None:
    """Refuse a service that nobody knows, or that is not installed."""
    there = get_available_reporting_integrations()
    for service in services.split(","):
        if service not in ("none", "all", *INTEGRATION_TO_CALLBACK):
            raise ConfigError(f"report_to names {service!r};", remedy=nearest(service, ["none", *INTEGRATION_TO_CALLBACK]))
        if service not in ("none", "all", *there):
            said = f"here are {', '.join(there) or 'none'}"
            raise ConfigError(f"report_to names {service!r}, which is not installed ({said});", remedy=f"pip install {service}.")


def _groups(model: nn.Module, choices: FitChoices) -> list[dict[str, Any]]:
    """Parameter groups by learning rate and weight decay (none for vectors); `params` are names."""
    rates, decays = dict(choices.rates or {}), dict(choices.decays or {})
    named = {plain_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ConfigError("nothing of the model is trained;", remedy="free a part of it.")
    for prefix in (*rates, *decays):
        if not any(_below(n, prefix) for n in named):
            raise ConfigError(
                f"no trained parameter begins with {prefix!r};", remedy=f"parts are {sorted({n.split('.')[0] for n in named})}."
            )
    groups: dict[tuple[float, float], list[str]] = {}
    for name, parameter in named.items():
        rate = rates.get(max((p for p in rates if _below(name, p)), key=len, default=""), choices.learning_rate)
        decay = decays.get(max((p for p in decays if _below(name, p)), key=len, default=""), choices.weight_decay)
        groups.setdefault((rate, decay if parameter.dim() > 1 else 0.0), []).append(name)
    return [{"params": names, "lr": rate, "weight_decay": decay} for (rate, decay), names in groups.items()]


def _below(name: str, part: str) -> bool:
    """Whether a parameter is one of a part."""
    return name == part or name.startswith(f"{part}.")


def _factor(choices: FitChoices) -> Callable[[int], float]:
    """Learning rate over its peak, by step."""
    warm = max(1, round(choices.warmup * choices.steps))

    def cosine(start: float, end: float, done: float) -> float:
        """From one value to another along half a cosine."""
        return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))

    def at(step: int) -> float:
        """Learning rate over its peak at one step."""
        done = min((step - warm) / max(1, choices.steps - warm), 1.0)
        if choices.schedule == "one_cycle":
            return cosine(0.04, 1.0, step / warm) if step < warm else cosine(1.0, 4e-6, done)
        if step < warm:
            return (step + 1) / warm
        if choices.schedule == "constant":
            return 1.0
        return 1.0 - done if choices.schedule == "linear" else cosine(1.0, 0.02, done)

    return at


def fit(
    model: nn.Module,
    dataset: Any,
    choices: FitChoices,
    out: str | Path,
    *,
    collate: Callable[[list[Any]], Any],
    validation: Any = None,
    judge: Callable[[nn.Module], dict[str, float]] | None = None,
    order: Order | None = None,
    callbacks: list[TrainerCallback] | None = None,
) -> dict[str, Any]:
    """Train what requires grad, and resume by itself from `out` when it holds checkpoints.

    A run that was killed ends with the weights of one that was not, bit by bit (float32, same processes): rows are read in an order
    that seed and step decide, and random states are saved.

    Args:
        model: returns an object or dict with `loss`.
        dataset: map-style, a row a function of its index; what it gives goes to `collate`.
        choices: see FitChoices.
        out: folder for checkpoints, `log.jsonl`, `loss.csv`, `loss.png`, `quarantine.jsonl`, and `best` weights of a run that is evaluated.
        validation: held-out rows, map-style.
        judge: figures of the model on held-out rows, `score` among them, that tells the best weights, the higher the better; without
            it the loss decides.
        order: which rows a micro-batch reads; by default all of them in a new order each epoch.

    Returns:
        last loss, steps and seconds.

    Raises:
        ConfigError: the launcher asked for DeepSpeed or FSDP and the trainer does not use it, or the batch does not divide.
        Interrupted: a signal ended the run, which is saved.
        DatasetError: a row cannot be read.
        UniFusionError: losses stay not finite, or a data worker died.
    """
    choices.check()
    if (choices.evaluate_every or choices.use_best) and validation is None:
        key = "evaluate_every" if choices.evaluate_every else "use_best"
        raise ConfigError(f"{key} is set and there are no held-out rows;", remedy="give validation data, or leave it out.")
    check_launch(choices.strategy)
    if world_size() == 1 and _asked("CPU"):
        log.warning("one process, whatever --num_processes said: accelerate launch starts no more on a CPU; use torchrun")
    if world_size() == 1 and deepspeed_config(choices.strategy) is not None:
        alone_under_torchrun()
    keep_freed_memory()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if is_first():
        atomic.sweep(folder)
    everyone_waits()
    last = snapshot.newest(folder)
    begun = snapshot.step_of(last) if last is not None else 0
    if last is not None and begun >= choices.steps:  # the trainer would take one step more
        log.info("%s is trained to its end already", last)
        load_trained(model, weights_of(folder, choices) or last)
        return {"loss": journal.last_loss(folder), "steps": begun, "seconds": 0.0}
    if is_first():
        journal.truncate(folder, begun)
    arguments = _arguments(choices, folder)
    plan = Plan(
        choices=choices, folder=folder, dataset=dataset, order=order or Order(len(dataset), choices.batch_size, seed=choices.seed),
        collate=collate, groups=_groups(model, choices), factor=_factor(choices), validation=validation, judge=judge,
    )  # fmt: skip
    with ExitStack() as stack:
        if world_size() > 1 and choices.strategy != "ddp":
            stack.enter_context(frozen_aside(model, arguments.device))
        trainer = FitTrainer(model, arguments, plan, resume=last, callbacks=callbacks)
        stack.callback(trainer.signals.close)
        stack.callback(unset_hf_deepspeed_config)  # with ZeRO-3 set, from_pretrained would wait for the other processes for ever
        _as_wanted(trainer, choices.strategy)
        if not arguments.disable_tqdm:
            stack.enter_context(logging_redirect_tqdm())
        result = trainer.train()
        if trainer.signals.number:
            raise Interrupted(
                f"the run was told to stop and is saved at step {result.global_step} of {choices.steps} in {folder};",
                number=trainer.signals.number, remedy="run the same command again to go on.",
            )  # fmt: skip
        if trainer.is_world_process_zero():
            journal.plot(folder)
    best = weights_of(folder, choices)
    if best is not None and choices.strategy == "ddp":
        load_trained(model, best)
    return {"loss": result.training_loss, "steps": result.global_step, "seconds": result.metrics.get("train_runtime", 0.0)}


def weights_of(folder: Path, choices: FitChoices) -> Path | None:
    """The best weights of a run's folder, where they are to be used and there are some."""
    best = folder / BEST
    return best if choices.use_best and best.is_dir() else None


def _arguments(choices: FitChoices, folder: Path) -> TrainingArguments:
    """Trainer's own arguments."""
    deepspeed = deepspeed_config(choices.strategy)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=choices.steps,
        per_device_train_batch_size=rows_each(choices.batch_size),
        gradient_accumulation_steps=choices.accumulate,
        max_grad_norm=choices.max_grad_norm,
        seed=choices.seed,
        logging_steps=choices.log_every,
        logging_nan_inf_filter=True,
        save_steps=choices.save_every,
        eval_strategy="steps" if choices.evaluate_every else "no",
        eval_steps=choices.evaluate_every or None,
        report_to=choices.report_to.split(","),
        remove_unused_columns=False,
        disable_tqdm=not sys.stderr.isatty(),
        use_cpu=not torch.cuda.is_available(),
        torch_compile=choices.compile,
        activation_checkpointing=choices.gradient_checkpointing,
        ddp_find_unused_parameters=False,
        label_names=["labels"],
        bf16=_bfloat16(choices.precision),
        deepspeed=str(deepspeed) if deepspeed is not None else None,
    )


def check_launch(strategy: str) -> None:
    """Refuse a strategy that these processes cannot follow, before anything is loaded.

    Accelerate leaves both of its plugins out on CPUs without a word, so what its launcher promised is held against the strategy.

    Raises:
        ConfigError: DeepSpeed is not installed, one process is to shard, or the launcher asked for what the strategy is not.
    """
    deepspeed = deepspeed_config(strategy) is not None
    if deepspeed and find_spec("deepspeed") is None:
        raise ConfigError(f"strategy {strategy} needs DeepSpeed, which is not installed;", remedy="pip install 'unifusion-x[deepspeed]'.")
    for name, used in (("DEEPSPEED", deepspeed), ("FSDP", strategy == "fsdp2")):
        if _asked(name) and not used:
            raise ConfigError(
                f"the launcher asked for {name}, the strategy is {strategy};",
                remedy="name one (--strategy fsdp2, zero2 ..) and start with torchrun or --processes.",
            )
    if world_size() == 1 and strategy == "fsdp2":
        raise ConfigError("fsdp2 shards over several processes, there is one;", remedy="start with --processes N or torchrun.")


def _asked(name: str) -> bool:
    """Whether accelerate's launcher was told to use it."""
    return os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("1", "true", "yes")


def _as_wanted(trainer: FitTrainer, strategy: str) -> None:
    """Say what takes part, and refuse when it is not what was asked for."""
    if (deepspeed_config(strategy) is not None) != trainer.is_deepspeed_enabled:
        raise ConfigError(f"strategy {strategy} was asked for, and DeepSpeed did not take part;", remedy="start with torchrun.")
    processes = trainer.args.world_size
    if processes != world_size():
        raise ConfigError(f"{world_size()} processes were started and {processes} take part;", remedy="start with torchrun.")
    how = f" ({strategy})" if processes > 1 or strategy != "ddp" else ""
    kind = " in bfloat16" * bool(trainer.args.bf16)
    log.info("%d process%s%s on %s%s", processes, "es" * (processes > 1), how, trainer.args.device, kind)


def _bfloat16(precision: str) -> bool:
    """Whether matrices are multiplied in bfloat16.

    Without AVX512-BF16 or AMX a CPU only imitates it, three times slower than float32; with it, products alone are two to eight
    times as fast, a step of stage instruct 1.15 times (measured).
    """
    if precision == "auto":
        if torch.cuda.is_available():
            return bool(torch.cuda.is_bf16_supported())
        can = torch.cpu.get_capabilities()
        return bool(can.get("avx512_bf16") or can.get("amx_bf16"))
    return precision == "bfloat16"
