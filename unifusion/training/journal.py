"""What a run writes down: a line of JSON a step, the loss as CSV and as a picture, and what signals asked of it."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import ProgressCallback, TrainerCallback

from unifusion import atomic
from unifusion.training.launch import world_size

__all__ = ["Bar", "Journal", "Signals", "held_loss", "last_loss", "plot", "truncate"]

log = logging.getLogger(__name__)
_LOG = "log.jsonl"


class Journal(TrainerCallback):
    """Writes every log line to log.jsonl, with what was read for it and how fast, and says it.

    Args:
        folder: of the run.
        meter: counts what was read; `rows` of the last step, `seen` rows and supervised `tokens` so far.
    """

    def __init__(self, folder: Path, meter: Any) -> None:
        self.path, self.meter = folder / _LOG, meter
        self._mark = (0, 0, 0, time.perf_counter())

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to measure."""
        self._mark = (self.meter.seen, self.meter.tokens, state.global_step, time.perf_counter())

    def measure(self, logs: dict[str, Any], step: int, steps: int) -> None:
        """Add to a line about training how fast rows and supervised tokens are read, and the seconds that are left at this pace."""
        if "loss" not in logs:
            return
        seen, tokens, before, then = self._mark
        self._mark = (self.meter.seen, self.meter.tokens, step, time.perf_counter())
        passed = max(self._mark[3] - then, 1e-9)
        logs["samples_per_s"] = round((self._mark[0] - seen) * world_size() / passed, 3)
        logs["tokens_per_s"] = round((self._mark[1] - tokens) * world_size() / passed, 1)
        logs["seconds_left"] = round(passed / max(step - before, 1) * (steps - step), 1)
        if torch.cuda.is_available():
            logs["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Append one line; one process of several does."""
        logs = logs if logs is not None else {}
        if not state.is_world_process_zero:
            return
        record = {"step": state.global_step, **{k: v for k, v in logs.items() if isinstance(v, int | float)}}
        if "loss" in logs:
            record["rows"] = list(self.meter.rows)
        append(self.path, record)
        if "loss" in record:
            log.info("step %d/%d %s", state.global_step, state.max_steps, _told(record))
        held = {k.removeprefix("eval_"): v for k, v in record.items() if k.startswith("eval_")}
        if held:
            told = ", ".join(f"{k} {v:.4f}" for k, v in held.items())
            log.info("step %d/%d held-out %s", state.global_step, state.max_steps, told)


def _told(record: dict[str, Any]) -> str:
    """A line of the log for people."""
    left = str(timedelta(seconds=round(record["seconds_left"])))
    read = f" {record['tokens_per_s']:.0f} tokens/s" * bool(record["tokens_per_s"])  # rows of a classifier have none
    pace = f"{record['samples_per_s']:.1f} rows/s{read}"
    memory = f" {record['peak_gb']:.1f} GB" if "peak_gb" in record else ""
    return (
        f"epoch {record['epoch']:.2f} loss {record['loss']:.4f} grad {record.get('grad_norm', math.nan):.2f} "
        f"lr {record.get('learning_rate', 0.0):.2e} {pace}{memory}, {left} left"
    )


class Bar(ProgressCallback):
    """Trainer's bar without its lines, which the journal writes."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Nothing."""


class Signals(TrainerCallback):
    """Ends a run that is told to stop (SIGTERM, SIGUSR1, SIGINT) behind its next step, in all processes, with a checkpoint.

    A second signal of the same kind acts as it always did.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Listen."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
                self._before[number] = signal.signal(number, self._heard)

    def _heard(self, number: int, frame: Any) -> None:
        """Note a signal; the run goes on until its step is done."""
        self.number = number
        signal.signal(number, self._before.get(number, signal.SIG_DFL))
        log.warning("signal %s: saving after this step (once more ends it at once)", signal.Signals(number).name)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop where one process was told to."""
        self.number = agreed(self.number, args.device)
        if self.number:
            control.should_save = control.should_training_stop = True

    def close(self) -> None:
        """Give the handlers back."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}


def agreed(number: int, device: torch.device) -> int:
    """The largest number any process has."""
    if world_size() == 1 or not distributed.is_initialized():
        return number
    value = torch.tensor(number, device=device)
    distributed.all_reduce(value, op=distributed.ReduceOp.MAX)
    return int(value)


def append(path: Path, record: dict[str, Any]) -> None:
    """Write one line; numbers that JSON does not know are written as null."""
    known = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(known) + "\n")


def logged(folder: Path) -> list[dict[str, Any]]:
    """What was logged so far; a line that a killed run did not finish is left out."""
    path = folder / _LOG
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def truncate(folder: Path, step: int) -> None:
    """Drop the lines behind a step: the run takes these steps again."""
    path = folder / _LOG
    kept = [record for record in logged(folder) if record.get("step", 0) <= step and "train_loss" not in record]
    if path.is_file():
        atomic.write_text(path, "".join(json.dumps(record) + "\n" for record in kept))


def last_loss(folder: Path) -> float:
    """The mean loss of the last attempt that came to its end, or the last one that was logged."""
    return float(next((r.get("train_loss", r.get("loss")) for r in reversed(logged(folder)) if "loss" in r or "train_loss" in r), math.nan))


def held_loss(folder: Path, *, best: bool = False) -> float | None:
    """The last loss of held-out rows, or the best; None where nobody looked."""
    found = [float(r["eval_loss"]) for r in logged(folder) if r.get("eval_loss") is not None]
    return (min(found) if best else found[-1]) if found else None


def plot(folder: Path) -> None:
    """The loss twice: loss.csv for machines, loss.png for people (with the extra `plots`)."""
    points = {r["step"]: r["loss"] for r in logged(folder) if r.get("loss") is not None}
    held = {r["step"]: r["eval_loss"] for r in logged(folder) if r.get("eval_loss") is not None}
    (folder / "loss.csv").write_text("step,loss\n" + "".join(f"{s},{v}\n" for s, v in points.items()), encoding="utf-8")
    try:
        import matplotlib
    except ImportError:
        log.info("no loss.png: install unifusion-x[plots]")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    axes.plot(list(points), list(points.values()), linewidth=1, label="training")
    if held:
        axes.plot(list(held), list(held.values()), linewidth=1.5, label="held out")
        axes.legend()
    axes.set(xlabel="step", ylabel="loss", title=folder.name)
    figure.tight_layout()
    figure.savefig(folder / "loss.png", dpi=110)
    pyplot.close(figure)
