"""Launchers: two processes train one model, and one process that was meant to be two does not pass for them."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from unifusion.errors import ConfigError
from unifusion.training.fit import FitChoices, fit
from unifusion.training.launch import launch, rows_each, world_size

ROOT = Path(__file__).resolve().parents[2]


class Line(nn.Module):
    """A line through the rows it is shown."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 1, bias=False)
        nn.init.ones_(self.line.weight)
        self.seen = []

    def forward(self, x, y):
        self.seen += x[:, 0].tolist()
        return {"loss": (self.line(x)[:, 0] - y).square().mean()}


def train(out):
    rows = [{"x": torch.tensor([float(i), 1.0]), "y": torch.tensor(float(-i))} for i in range(8)]
    model = Line()
    choices = FitChoices(steps=2, batch_size=2 * world_size(), learning_rate=0.1, save_every=100, precision="float32")
    fit(model, rows, choices, out, collate=lambda batch: {k: torch.stack([r[k] for r in batch]) for k in batch[0]})
    return model


def test_two_processes_see_different_rows_and_end_with_equal_weights(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", __file__, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2))
    assert first["weight"] == second["weight"] and first["weight"] != [[1.0, 1.0]]
    assert len(first["seen"]) == len(second["seen"]) == 4 and not set(first["seen"]) & set(second["seen"])


def test_accelerate_on_a_cpu_is_one_process_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    with caplog.at_level(logging.INFO, logger="unifusion"):
        train(tmp_path)
    assert "use torchrun" in caplog.text and "1 process on cpu" in caplog.text


@pytest.mark.parametrize("engine", ["DEEPSPEED", "FSDP"])
def test_an_engine_that_was_asked_for_and_is_not_there_is_refused(tmp_path, monkeypatch, engine):
    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "true")
    with pytest.raises((ConfigError, ImportError), match=rf"(?i){engine}"):
        train(tmp_path)


def test_a_batch_is_shared_out_evenly_or_refused(monkeypatch):
    assert rows_each(5) == 5
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert rows_each(6) == 3
    for rows in (5, 1):
        with pytest.raises(ConfigError, match=f"a batch of {rows} rows cannot be shared by 2 processes"):
            rows_each(rows)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="2 processes for 1 GPUs"):
        launch(["instruct"], 2)
    with pytest.raises(ConfigError, match="0 processes cannot train"):
        launch(["instruct"], 0)


def test_the_command_line_tells_what_went_wrong_in_the_processes():
    command = [sys.executable, "-m", "unifusion", "train", "--processes", "2", "instruct", "--stepz", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and 1 <= len(lines) <= 2  # both processes may have said it before the first to fail ends the other
    assert all("unknown choice '--stepz'; did you mean '--steps'?" in line for line in lines)


def test_a_signal_ends_the_processes_without_a_traceback(tmp_path):
    recipe, began = tmp_path / "slow.py", tmp_path / "began"
    recipe.write_text(f"import pathlib, time\n\n\ndef main(argv):\n    pathlib.Path({str(began)!r}).touch()\n    time.sleep(100)\n")
    command = [sys.executable, "-m", "unifusion", "train", "--processes", "2", str(recipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as running:
        while not began.exists():
            assert running.poll() is None
            time.sleep(0.1)
        running.send_signal(signal.SIGINT)
        told = running.communicate(timeout=60)[1]
    assert running.returncode == 130 and "Traceback" not in told


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    model = train(folder / "run")
    told = {"weight": model.line.weight.tolist(), "seen": model.seen}
    (folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps(told))
