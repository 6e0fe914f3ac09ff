"""The one training loop: Hugging Face Trainer underneath, with what our recipes need around it."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainingArguments

from unifusion.errors import CheckpointError, ConfigError, UniFusionError
from unifusion.training.launch import rows_each
from unifusion.training.memory import keep_freed_memory

__all__ = ["FitChoices", "fit"]

log = logging.getLogger(__name__)
_WEIGHTS = "trained.safetensors"


@dataclass(frozen=True, kw_only=True)
class FitChoices:
    """How long, how fast, how often.

    `rates` gives a learning rate to parameters by the longest matching prefix of their names; `learning_rate` is for the rest.
    """

    steps: int = 1000
    batch_size: int = 16
    """Rows of a step, over all processes."""
    accumulate: int = 1
    learning_rate: float = 1e-3
    rates: Mapping[str, float] | None = None
    weight_decay: float = 0.05
    warmup: float = 0.03
    schedule: str = "cosine"
    """cosine, constant, or linear (to zero)."""
    max_grad_norm: float = 1.0
    beta2: float = 0.98
    seed: int = 0
    workers: int = 0
    save_every: int = 500
    log_every: int = 20
    compile: bool = False
    precision: str = "auto"
    """float32, bfloat16 (autocast; weights stay float32), or auto: bfloat16 where the processor multiplies it natively."""

    @classmethod
    def of(cls, choices: Any) -> FitChoices:
        """Those of a recipe's choices that are about fitting, by their names."""
        return cls(**{f.name: getattr(choices, f.name) for f in fields(cls) if hasattr(choices, f.name)})


class _Quiet(TrainerCallback):
    """Writes every log line to log.jsonl, and stops on a loss that is not finite before a checkpoint can hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Append one line; one process of several does."""
        if not state.is_world_process_zero:
            return
        record = {"step": state.global_step, **{k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        loss = record.get("loss")
        if loss is not None:
            log.info("step %d/%d loss %.4f lr %.2e", state.global_step, state.max_steps, loss, record.get("learning_rate", 0.0))


class _Fit(Trainer):
    """Trainer that saves what is trained, and nothing else.

    A frozen encoder is not saved with the run: Trainer's plain `load_state_dict` would lose VideoMAE's q/v biases without a word.
    """

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write trainable parameters and buffers of trained modules."""
        folder = Path(output_dir or self.args.output_dir or ".")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trained_state(self.model), folder / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Read them back, strictly."""
        load_trained(model or self.model, Path(resume_from_checkpoint) / _WEIGHTS)

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One step; refused when the loss is not finite, before it can reach a weight."""
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        if not bool(torch.isfinite(loss)):
            raise UniFusionError(
                f"the loss at step {self.state.global_step} is {float(loss)}; no weight was changed;",
                remedy="lower the learning rate; run again to resume from the last checkpoint.",
            )
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip; refused when a gradient is not finite (a loss can be while its gradient is not)."""
        norm: Any = super()._clip_grad_norm(model)
        if not math.isfinite(float(norm)):
            raise UniFusionError(
                f"the gradient at step {self.state.global_step} is {float(norm)} although the loss is finite; no weight was changed;",
                remedy="lower the learning rate; run again to resume from the last checkpoint.",
            )
        return norm


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Trainable parameters, and buffers that live beside them (BatchNorm's statistics), each tied weight once."""
    trained = {n.rpartition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    state: dict[str, torch.Tensor] = {n: p for n, p in model.named_parameters() if p.requires_grad}
    state.update({n: b for n, b in model.named_buffers() if n.rpartition(".")[0] in trained})
    return {_plain(n): t.detach().cpu().contiguous().clone() for n, t in state.items()}


def load_trained(model: nn.Module, path: Path) -> None:
    """Put back what `trained_state` gave.

    Raises:
        CheckpointError: the file holds other names than the model trains.
    """
    state = load_file(path)
    own = {_plain(n): t for n, t in [*model.named_parameters(), *model.named_buffers()]}
    wanted = set(trained_state(model))
    if wanted != set(state):
        missing, unknown = sorted(wanted - set(state))[:5], sorted(set(state) - wanted)[:5]
        raise CheckpointError(
            f"{path} does not fit the model (missing {missing}, unknown {unknown});", remedy="resume with the choices it was made with."
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


def _plain(name: str) -> str:
    """A parameter's name without what torch.compile puts before it."""
    return name.replace("_orig_mod.", "")


def _groups(model: nn.Module, choices: FitChoices) -> list[dict[str, Any]]:
    """Parameter groups by learning rate and weight decay (none for vectors)."""
    rates = dict(choices.rates or {})
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    for prefix in rates:
        if not any(n.startswith(prefix) for n in names):
            raise ConfigError(
                f"no trained parameter begins with {prefix!r};", remedy=f"parts are {sorted({n.split('.')[0] for n in names})}."
            )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            prefix = max((p for p in rates if name.startswith(p)), key=len, default="")
            decay = choices.weight_decay if parameter.dim() > 1 else 0.0
            groups.setdefault((rates.get(prefix, choices.learning_rate), decay), []).append(parameter)
    return [{"params": ps, "lr": rate, "weight_decay": decay} for (rate, decay), ps in groups.items()]


def _factor(choices: FitChoices) -> Callable[[int], float]:
    """Learning rate over its peak, by step."""
    warm = max(1, round(choices.warmup * choices.steps))

    def at(step: int) -> float:
        """Learning rate over its peak at one step."""
        if step < warm:
            return (step + 1) / warm
        done = min((step - warm) / max(1, choices.steps - warm), 1.0)
        if choices.schedule == "constant":
            return 1.0
        return 1.0 - done if choices.schedule == "linear" else 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))

    return at


def fit(
    model: nn.Module,
    dataset: Any,
    choices: FitChoices,
    out: str | Path,
    *,
    collate: Callable[[list[Any]], Any],
    callbacks: list[TrainerCallback] | None = None,
) -> dict[str, Any]:
    """Train what requires grad, and resume by itself from `out` when it holds checkpoints.

    Args:
        model: returns an object or dict with `loss`.
        dataset: map-style; what it gives goes to `collate`.
        choices: see FitChoices.
        out: folder for checkpoints, `log.jsonl`, `loss.csv` and `loss.png`.

    Returns:
        last loss, steps and seconds.

    Raises:
        ConfigError: the launcher asked for DeepSpeed or FSDP and the trainer does not use it, or the batch does not divide.
    """
    keep_freed_memory()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    last = _last_checkpoint(folder)
    if last is not None and _step(last) >= choices.steps:  # the trainer would take one step more
        log.info("%s is trained to its end already", last)
        load_trained(model, last / _WEIGHTS)
        return {"loss": _last_loss(folder), "steps": _step(last), "seconds": 0.0}
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=choices.steps,
        per_device_train_batch_size=rows_each(choices.batch_size),
        gradient_accumulation_steps=choices.accumulate,
        max_grad_norm=choices.max_grad_norm,
        seed=choices.seed,
        data_seed=choices.seed,
        logging_steps=choices.log_every,
        save_steps=choices.save_every,
        save_total_limit=2,
        report_to="none",
        remove_unused_columns=False,
        dataloader_num_workers=choices.workers,
        disable_tqdm=not sys.stderr.isatty(),
        dataloader_persistent_workers=choices.workers > 0,
        use_cpu=not torch.cuda.is_available(),
        torch_compile=choices.compile,
        label_names=["labels"],
        save_only_model=False,
        bf16=_bfloat16(choices.precision),
    )
    optimizer = torch.optim.AdamW(_groups(model, choices), betas=(0.9, choices.beta2), fused=True)
    trainer = _Fit(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=collate,
        optimizers=(optimizer, LambdaLR(optimizer, _factor(choices))),
        callbacks=[_Quiet(folder / "log.jsonl"), *(callbacks or [])],
    )
    _as_launched(trainer)
    if last is not None:
        log.info("resuming from %s", last)
    result = trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.is_world_process_zero():
        _plot(folder)
    return {"loss": result.training_loss, "steps": result.global_step, "seconds": result.metrics.get("train_runtime", 0.0)}


def _as_launched(trainer: Trainer) -> None:
    """Say what takes part, and refuse what a launcher promised and does not hold: accelerate leaves both out on CPUs without a word."""
    engines = {"DEEPSPEED": trainer.is_deepspeed_enabled, "FSDP": trainer.is_fsdp_enabled}
    for name, used in engines.items():
        if os.environ.get(f"ACCELERATE_USE_{name}", "").lower() in ("1", "true", "yes") and not used:
            raise ConfigError(
                f"the launcher asked for {name}, the trainer does not use it;", remedy="start with torchrun, or leave the plugin out."
            )
    processes = trainer.args.world_size
    if processes == 1 and os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        log.warning("one process, whatever --num_processes said: accelerate launch starts no more on a CPU; use torchrun")
    log.info("%d process%s on %s%s", processes, "es" * (processes > 1), trainer.args.device, " in bfloat16" * bool(trainer.args.bf16))


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
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"no precision {precision!r};", remedy="take float32, bfloat16 or auto.")
    return precision == "bfloat16"


def _last_checkpoint(folder: Path) -> Path | None:
    """Newest checkpoint that was saved whole."""
    found = sorted(folder.glob("checkpoint-*"), key=_step)
    whole = [p for p in found if (p / _WEIGHTS).is_file() and (p / "trainer_state.json").is_file()]
    return whole[-1] if whole else None


def _step(checkpoint: Path) -> int:
    """How many steps a checkpoint has behind it."""
    return int(checkpoint.name.rpartition("-")[2])


def _logged(folder: Path) -> list[dict[str, Any]]:
    """What was logged so far."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def _last_loss(folder: Path) -> float:
    """The mean loss of the last attempt that came to its end, or the last one that was logged."""
    lines = _logged(folder) if (folder / "log.jsonl").is_file() else []
    return float(next((r.get("train_loss", r.get("loss")) for r in reversed(lines) if "loss" in r or "train_loss" in r), math.nan))


def _plot(folder: Path) -> None:
    """The loss twice: loss.csv for machines, loss.png for people (with the extra `plots`)."""
    points = {r["step"]: r["loss"] for r in _logged(folder) if "loss" in r}
    (folder / "loss.csv").write_text("step,loss\n" + "".join(f"{s},{v}\n" for s, v in points.items()), encoding="utf-8")
    try:
        import matplotlib
    except ImportError:
        log.info("no loss.png: install unifusion-x[plots]")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    axes.plot(list(points), list(points.values()), linewidth=1)
    axes.set(xlabel="step", ylabel="loss", title=folder.name)
    figure.tight_layout()
    figure.savefig(folder / "loss.png", dpi=110)
    pyplot.close(figure)
