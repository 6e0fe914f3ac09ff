"""Hugging Face's Trainer with our own reading, saving, resuming and guarding around its steps."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from unifusion.errors import CheckpointError, DatasetError, UniFusionError
from unifusion.quarantine import Quarantine
from unifusion.training import journal, snapshot, tensors
from unifusion.training.launch import is_first, rank, world_size
from unifusion.training.loader import TOLD, Loader, take
from unifusion.training.order import Order, StepSampler
from unifusion.training.strategy import local, shard_fsdp2

__all__ = ["BEST", "FitTrainer", "Plan"]

log = logging.getLogger(__name__)
BEST = "best"
"""Folder of a run with the weights of the best held-out loss."""


@dataclass(kw_only=True)
class Meter:
    """What this process has read: rows of the last step, and rows and supervised tokens so far."""

    rows: list[int] = field(default_factory=list)
    seen: int = 0
    tokens: int = 0


@dataclass(kw_only=True)
class Plan:
    """All that a run is made of, beside its model.

    Attributes:
        choices: FitChoices.
        folder: of the run.
        dataset: map-style.
        order: which rows a micro-batch reads.
        collate: rows to a dict.
        groups: parameter groups, each with its `lr` at its peak.
        factor: learning rate over its peak, by step.
        validation: held-out rows, for `evaluate_every`.
        judge: of the model, see `fit`.
    """

    choices: Any
    folder: Path
    dataset: Any
    order: Order
    collate: Callable[[list[Any]], Any]
    groups: list[dict[str, Any]]
    factor: Callable[[int], float]
    validation: Any = None
    judge: Callable[[nn.Module], dict[str, float]] | None = None


class _AdamW(torch.optim.AdamW):
    """AdamW that leaves a step out when it is told to."""

    skip = False

    def step(self, closure: Any = None) -> Any:
        """One step, unless `skip` is set, which is taken back."""
        if self.skip:
            self.skip = False
            return None
        return super().step(closure)


class _Schedule:
    """Learning rates as a function of the step; what Trainer wants of a scheduler."""

    def __init__(self, optimizer: Any, groups: list[dict[str, Any]], factor: Callable[[int], float]) -> None:
        self.optimizer, self.peaks, self.factor = optimizer, [g["lr"] for g in groups], factor
        self.at(0)

    def at(self, step: int) -> None:
        """Set the rates of a step."""
        self.rates = [peak * self.factor(step) for peak in self.peaks]
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate

    def step(self) -> None:
        """Nothing: the trainer sets the rates by its own count, which goes on when a step is left out."""

    def get_last_lr(self) -> list[float]:
        """Rates of the groups."""
        return self.rates


class FitTrainer(Trainer):
    """Trainer that reads rows in an order that only seed and step decide, and saves what is trained, whole and by name.

    A frozen encoder is not saved with the run: Trainer's plain `load_state_dict` would lose VideoMAE's q/v biases without a word.

    Args:
        model: returns an object or dict with `loss`.
        args: of Trainer.
        plan: all the rest.
        resume: a checkpoint to go on from.
        callbacks: of Trainer.
    """

    def __init__(
        self, model: nn.Module, args: TrainingArguments, plan: Plan, *, resume: Path | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.resume, self.meter = plan, resume, Meter()
        self.loader: Loader | None = None
        self.skipped_in_a_row, self.best, self.waited = 0, math.inf, 0
        choices = plan.choices
        self.quarantine = Quarantine(
            plan.folder / "quarantine.jsonl", skip=choices.on_bad_media == "skip", most=choices.max_bad, what="rows", kind=DatasetError
        )  # fmt: skip
        self.journal, self.signals = journal.Journal(plan.folder, self.meter), journal.Signals()
        super().__init__(
            model=model, args=args, train_dataset=plan.dataset, eval_dataset=plan.validation, data_collator=plan.collate,
            callbacks=[_Restore(self), self.journal, self.signals, *(callbacks or [])],
        )  # fmt: skip
        self.remove_callback(PrinterCallback)
        if not args.disable_tqdm:
            self.remove_callback(ProgressCallback)
            self.add_callback(journal.Bar)

    # -- reading

    def get_train_dataloader(self) -> Any:
        """The micro-batches that are left, of this process."""
        choices, begun = self.plan.choices, self._state_of_resume().get("step", 0)
        sampler = StepSampler(
            self.plan.order, begun * choices.accumulate, choices.steps * choices.accumulate, rank=rank(), world_size=world_size()
        )  # fmt: skip
        self.loader = Loader(
            self.plan.dataset, sampler, self.plan.collate, workers=choices.workers, timeout_s=choices.worker_timeout_s
        )  # fmt: skip
        return self.loader

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's; a lost data worker is an error of ours.

        Raises:
            UniFusionError: a worker died, or gave nothing for `worker_timeout_s`.
        """
        try:
            return super().train(*args, **kwargs)
        except (RuntimeError, EOFError, OSError) as error:
            told = self.loader.explain(error) if self.loader is not None else None
            if told is None:
                raise
            raise told from error

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The micro-batches of a step; bad rows are noted or refused here, and the learning rates set."""
        gathered: list[Any] = []
        self.meter.rows = []
        for _ in range(num_batches):
            batch = next(epoch_iterator, None)
            if batch is None:
                break
            told = batch.pop(TOLD)
            take(self.quarantine, told)
            self.meter.rows += told.rows
            self.meter.seen += len(told.rows)
            labels = batch.get("labels")
            self.meter.tokens += int((labels[..., 1:] != -100).sum()) if isinstance(labels, torch.Tensor) else 0
            gathered.append(batch)
        self.lr_scheduler.at(self.state.global_step)
        return gathered, self._get_num_items_in_batch(gathered, device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer's, with epochs of the data (its own count is the share of the run that is done) and the pace."""
        self.state.epoch = self.state.global_step * self.plan.choices.accumulate / self.plan.order.steps_per_epoch
        self.journal.measure(logs, self.state.global_step, self.state.max_steps)
        super().log(logs, start_time)

    # -- one step

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss; one that is not finite becomes NaN with all its gradient, by which every process knows that the step is not taken."""
        loss = super().compute_loss(*args, **kwargs)
        return loss * torch.where(torch.isfinite(loss.detach()), 1.0, math.nan)

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip, and see whether the step can be taken."""
        if self.is_deepspeed_enabled:  # its engine has clipped, and taken or left out the step, already
            norm = float(model.get_global_grad_norm() or 0.0)
            applied = bool(getattr(model, "was_step_applied", lambda: True)()) and math.isfinite(norm) and norm >= 0
        else:
            parameters = [p for p in self.model.parameters() if p.grad is not None]
            norm = float(local(nn.utils.clip_grad_norm_(parameters, self.args.max_grad_norm or math.inf)))
            applied = math.isfinite(norm)
            if not applied:
                self._inner().skip = True
        self._count(applied, norm)
        return torch.tensor(norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm before it was clipped."""
        return self._clip_grad_norm(model) if grad_norm is None else float(grad_norm)

    def _count(self, applied: bool, norm: float) -> None:
        """Note a step that was left out.

        Raises:
            UniFusionError: too many in a row were.
        """
        if applied:
            self.skipped_in_a_row = 0
            return
        self.skipped_in_a_row += 1
        step, most = self.state.global_step, self.plan.choices.max_skipped
        record = {"step": step, "skipped": "loss or gradient is not finite", "grad_norm": str(norm), "rows": list(self.meter.rows)}
        if is_first():
            journal.append(self.plan.folder / "log.jsonl", record)
        log.warning("step %d is left out: its loss or gradient is not finite (rows %s)", step, self.meter.rows)
        if self.skipped_in_a_row > most:
            raise UniFusionError(
                f"the loss or gradient is not finite at step {step} ({self.skipped_in_a_row} in a row); no weight was changed "
                f"(rows {self.meter.rows});",
                remedy="lower the learning rate, or look at these rows; run again to resume from the last checkpoint.",
            )

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW over the plan's groups."""
        choices = self.plan.choices
        fused = self.args.device.type in ("cpu", "cuda") and not any(hasattr(p, "device_mesh") for p in self.model.parameters())
        groups = [dict(g) for g in self._groups()]
        self.optimizer = _AdamW(groups, betas=(0.9, choices.beta2), fused=fused)
        return self.optimizer

    def _inner(self) -> Any:
        """The optimizer inside accelerate's."""
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _groups(self) -> list[dict[str, Any]]:
        """The plan's groups with the parameters as they are now: sharding replaces them."""
        named = {tensors.plain_name(n): p for n, p in self.model.named_parameters()}
        return [{**g, "params": [named[n] for n in g["params"]]} for g in self.plan.groups]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Rates by step."""
        self.lr_scheduler = _Schedule(self.optimizer, self.plan.groups, self.plan.factor)
        return self.lr_scheduler

    def _prepare_for_training(self, max_steps: Any, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        """Wrap the model for its strategy and go on from a checkpoint."""
        if self.plan.choices.strategy == "fsdp2":
            shard_fsdp2(self.model, self.args.device, bfloat16=self.args.bf16)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        if self.resume is not None:
            self._go_on(self.resume)
        return prepared

    # -- saving and resuming

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """A checkpoint by `snapshot`."""
        choices = self.plan.choices
        state = {
            "step": self.state.global_step, "loss": float(self._tr_loss), "loss_total": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged, "world_size": world_size(), "strategy": choices.strategy,
            "best": None if math.isinf(self.best) else self.best, "waited": self.waited, "skipped_in_a_row": self.skipped_in_a_row,
            "tried": self.quarantine.tried, "bad": self.quarantine.bad, "seen": self.meter.seen, "tokens": self.meter.tokens,
            "total_flos": self.state.total_flos,
        }  # fmt: skip
        snapshot.write_snapshot(self.plan.folder, self.state.global_step, self._write, state, keep=choices.keep)

    def _write(self, folder: Path) -> None:
        """This process's part of a checkpoint."""
        tensors.save_trained(self.model, folder)
        if self.is_deepspeed_enabled:
            self.model_wrapped.save_checkpoint(str(folder / "deepspeed"), tag="state", exclude_frozen_parameters=True)
        else:
            tensors.save_optimizer(self._inner(), self.model, folder)
        tensors.save_random(folder)

    def _state_of_resume(self) -> dict[str, Any]:
        """What the checkpoint says that the run goes on from."""
        return snapshot.read_state(self.resume) if self.resume is not None else {}

    def _go_on(self, checkpoint: Path) -> None:
        """Put weights, optimizer and random states back.

        Raises:
            CheckpointError: it does not fit the model, or DeepSpeed cannot read it with so many processes.
        """
        told = self._state_of_resume()
        if self.is_deepspeed_enabled:
            saved = checkpoint / "deepspeed"
            if not saved.is_dir() or told["world_size"] != world_size():
                raise CheckpointError(
                    f"{checkpoint} was saved by {told['world_size']} processes of strategy {told['strategy']}, and DeepSpeed goes on from "
                    f"its own files and with as many processes only ({world_size()} now);",
                    remedy="start as many as then, with the strategy of then.",
                )
            self.model_wrapped.load_checkpoint(str(saved), tag="state", load_module_strict=False)
        else:
            if not any(checkpoint.glob("optimizer*.safetensors")):
                raise CheckpointError(
                    f"{checkpoint} was saved by DeepSpeed ({told['strategy']});", remedy="go on with that strategy, or name another folder."
                )
            tensors.load_trained(self.model, checkpoint)
            tensors.load_optimizer(self._inner(), self.model, checkpoint)
        tensors.load_random(checkpoint, self.args.seed)
        log.info("goes on from %s", checkpoint)

    def _init_training_state(self, max_steps: Any, steps_per_epoch: Any, epochs: Any, resume: Any, trial: Any) -> tuple[int, int]:
        """Trainer's counters; those of the checkpoint where there is one."""
        super()._init_training_state(max_steps, steps_per_epoch, epochs, None, trial)
        told = self._state_of_resume()
        if told:
            self.state.global_step = told["step"]
            self.state.total_flos = told["total_flos"]
            self.best = math.inf if told["best"] is None else told["best"]
            self.waited, self.skipped_in_a_row = told["waited"], told["skipped_in_a_row"]
            self.meter.seen, self.meter.tokens = told["seen"], told["tokens"]
            self.quarantine.tried, self.quarantine.bad = told.get("tried", 0), told.get("bad", 0)
        return 0, 0

    # -- held-out rows

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The mean loss of held-out rows by supervised token; the best weights are kept, and too many in vain end the run."""
        choices, model = self.plan.choices, self.model_wrapped
        order = Order(len(self.plan.validation), choices.batch_size, shuffle=False)
        sampler = StepSampler(order, 0, order.steps_per_epoch, rank=rank(), world_size=world_size())
        totals = torch.zeros(2, dtype=torch.float64)
        model.eval()
        with torch.no_grad():
            for batch in Loader(self.plan.validation, sampler, self.plan.collate):
                told = batch.pop(TOLD)
                take(self.quarantine, told)
                out = model(**self._prepare_inputs(batch))
                loss, count = (out["loss"], out.get("n_targets")) if isinstance(out, Mapping) else (out.loss, None)
                weight = float(count) if count is not None else float(len(told.rows))
                totals += torch.tensor([float(loss) * weight, weight])
        model.train()
        if world_size() > 1:
            totals = totals.to(self.args.device, torch.float32)
            distributed.all_reduce(totals)
        figures = {"eval_loss": float(totals[0] / totals[1].clamp(min=1))}
        if self.plan.judge is not None:
            figures |= {f"eval_{k}": v for k, v in self.plan.judge(self.model).items()}
            model.train()
        self.log(figures)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        self._compare(-figures["eval_score"] if self.plan.judge is not None else figures["eval_loss"])
        return figures

    def _compare(self, loss: float) -> None:
        """Keep the weights when they are the best so far."""
        choices = self.plan.choices
        if loss < self.best:
            self.best, self.waited = loss, 0
            state = {"loss": loss, "step": self.state.global_step}
            snapshot.shift(self.plan.folder / BEST, choices.n_best)
            snapshot.write_apart(self.plan.folder / BEST, lambda folder: tensors.save_trained(self.model, folder), state)
            return
        self.waited += 1
        if choices.patience and self.waited >= choices.patience:
            judged = self.plan.judge is not None
            what = f"score has not risen above {-self.best:.4f}" if judged else f"loss has not fallen below {self.best:.4f}"
            log.info("held-out %s for %d evaluations: the run ends here", what, self.waited)
            self.control.should_training_stop = self.control.should_save = True


class _Restore(TrainerCallback):
    """Puts Trainer's running sums back once it has cleared them."""

    def __init__(self, trainer: FitTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As the checkpoint has them."""
        told = self.trainer._state_of_resume()
        if told:
            self.trainer._tr_loss.fill_(told["loss"])
            self.trainer._total_loss_scalar = told["loss_total"]
            self.trainer._globalstep_last_logged = told["last_logged"]
