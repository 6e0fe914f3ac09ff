"""Two processes that gather rows have the gradients of one that has them all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.losses import gathered
from unifusion.losses._gather import gather_rows

ROOT = Path(__file__).resolve().parents[2]
EVEN, UNEVEN = ("clip", "siglip", "pairs", "labels"), ("pairs", "labels")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("gathered")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.losses.gathered", str(folder), str(rank), "2"], cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)[-3000:]
    return [torch.load(folder / f"told{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("how", [*(f"even {name}" for name in EVEN), *(f"uneven {name}" for name in UNEVEN)])
def test_two_processes_have_the_gradient_of_one(told, how):
    wanted = gathered.gradients(gathered.Towers(), how.split()[1], slice(None))
    assert max(float(g.abs().max()) for n, g in wanted.items() if n != "loss") > 1e-3
    mean = (told[0][how]["loss"] + told[1][how]["loss"]) / 2
    torch.testing.assert_close(mean, wanted.pop("loss"), rtol=1e-6, atol=1e-6)
    for rank in range(2):
        for name, gradient in wanted.items():
            torch.testing.assert_close(told[rank][how][name], gradient, rtol=1e-5, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")


def test_without_a_second_process_rows_stay_what_they_are():
    rows = torch.randn(3, 2)
    assert gather_rows(rows)[0] is rows and gather_rows(rows)[1] == 0
