"""Trains a toy chat model on rows of every mix of streams, in one process or several; what happened at each step goes to a file.

    torchrun --nproc-per-node 2 tests/training/ranks.py OUT '{"strategy": "fsdp2", "steps": 100}'
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from transformers import TrainerCallback

from tests.toys import chat_model, mixed
from unifusion.cli import script
from unifusion.errors import MediaError
from unifusion.models.build import set_trainable
from unifusion.training.fit import FitChoices, fit
from unifusion.training.launch import is_first, rank, world_size
from unifusion.training.tensors import trained_state

QUICK = {"steps": 100, "batch_size": 4, "learning_rate": 1e-3, "save_every": 1000, "log_every": 1, "precision": "float32", "warmup": 0.0,
         "max_grad_norm": 1e9}  # fmt: skip


class Rows:
    """Conversations with any streams: the eight of `mixed`, and later rows the same ones with other answers.

    Of some rows it is said what happens when they are read: `bad` ones cannot be, `dead` ones kill the process, `stuck` ones stop it.
    """

    def __init__(self, processor, count=40, **happens):
        self.processor, self.talks = processor, [t for k in range(-(-count // 8)) for t in mixed(f"an answer {k}")][:count]
        self.happens = {index: what for what, rows in happens.items() for index in rows}

    def __len__(self):
        return len(self.talks)

    def name(self, index):
        return f"clip{index}.mp4"

    def __getitem__(self, index):
        what = self.happens.get(index)
        if what == "bad":
            raise MediaError(f"clip{index}.mp4 is no clip;", remedy="mend it.")
        if what:
            os.kill(os.getpid(), signal.SIGKILL if what == "dead" else signal.SIGSTOP)
        return self.processor.row(self.talks[index])


class Gradients(TrainerCallback):
    """Keeps the gradients of the first step, whole and before they are clipped."""

    def __init__(self, model, strategy):
        self.kept = {}
        if strategy.startswith("zero"):  # the engine steps inside Trainer's backward pass, and clips in its step
            from deepspeed.runtime.engine import DeepSpeedEngine
            from deepspeed.utils import safe_get_full_grad

            step = DeepSpeedEngine.step

            def watched(engine, *args, **kwargs):
                if not self.kept:
                    self.kept = {n: safe_get_full_grad(p).clone() for n, p in model.named_parameters() if p.requires_grad}
                return step(engine, *args, **kwargs)

            DeepSpeedEngine.step = watched

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not self.kept:
            named = {n.removeprefix("module."): p.grad for n, p in model.named_parameters() if p.requires_grad}
            self.kept = {n: (g.full_tensor() if hasattr(g, "full_tensor") else g).clone() for n, g in named.items()}


class Slow(TrainerCallback):
    """Takes its time, so that somebody can interrupt, and says when it has begun, and in which process."""

    def __init__(self, out, seconds):
        self.out, self.seconds = Path(out), seconds

    def on_step_end(self, args, state, control, **kwargs):
        (self.out / f"began{rank()}").write_text(str(os.getpid()))
        time.sleep(self.seconds)


def spoil(model, steps):
    """Make the loss of some steps infinite, in the second process alone where there are two."""
    forward, calls = model.forward, [0]

    def spoiled(*args, **kwargs):
        out = forward(*args, **kwargs)
        calls[0] += 1
        if calls[0] in steps and rank() == world_size() - 1:
            out.loss = out.loss * float("inf")
        return out

    model.forward = spoiled


def model_and_rows(part="adapters", **happens):
    """A fresh model of which adapters and language model are trained, and its rows; with part `all`, encoders too."""
    model, processor = chat_model()
    set_trainable(model, {"encoders": part == "all", "adapters": True, "language_model": True})
    with torch.no_grad():  # gentle again: losses of a hundred steps are compared
        for parameter in model.language_model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(1 / 8.0)
    return model, processor, Rows(processor, **happens)


def collate(processor):
    """The processor's, which supervises nothing where there is no row."""

    def together(rows):
        batch = processor.collate(rows or [processor.row(mixed("an answer")[4])])
        if not rows:
            batch["labels"] = torch.full_like(batch["input_ids"], -100)
        return dict(batch)

    return together


def run(out, part="adapters", happens=None, slow_s=0.0, spoiled=(), **changed):
    """Train, and write weights, gradients and who took part; returns the model."""
    model, processor, rows = model_and_rows(part, **(happens or {}))
    if spoiled:
        spoil(model, spoiled)
    keeper = Gradients(model, changed.get("strategy", "ddp"))
    watching = [keeper, *([Slow(out, slow_s)] if slow_s else [])]
    fit(model, rows, FitChoices(**{**QUICK, **changed}), Path(out) / "run", collate=collate(processor), callbacks=watching)
    weights = trained_state(model)
    if is_first():
        torch.save({"gradients": keeper.kept, "weights": weights}, Path(out) / "kept.pt")
        (Path(out) / "told.json").write_text(json.dumps({"world_size": world_size(), "rank": rank()}))
    return model


def main(out, options):
    """What the script does: `run`, its errors told as the command line tells them."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    Path(out).mkdir(parents=True, exist_ok=True)
    script(lambda: run(out, **options))
    if world_size() > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
    os._exit(0)  # DeepSpeed's threads may wait for each other at exit
