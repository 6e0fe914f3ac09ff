"""Runs a recipe of embedding models, and may kill itself in the middle; for `forks`.

    torchrun --nproc-per-node 2 -m tests.training.aligned align '["--config", "toy.yaml", "--out", "OUT"]' 0
"""

import json
import os
import runpy
import signal
import sys

import torch

from unifusion import share
from unifusion.training.align_loss import AlignObjective
from unifusion.training.align_stages import BothObjective
from unifusion.training.distill_loss import DistillObjective
from unifusion.training.launch import world_size
from unifusion.training.mask_loss import MaskObjective


def dying_at(step):
    """Let this process kill itself in the forward pass of a step, counted from 1."""
    calls = [0]
    for kind in (AlignObjective, MaskObjective, BothObjective, DistillObjective):

        def forward(self, *args, inner=kind.forward, **kwargs):
            calls[0] += 1
            if calls[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(self, *args, **kwargs)

        kind.forward = forward


def main(recipe, flags, step="0"):
    """What the script does."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if int(step):
        dying_at(int(step))
    runpy.run_path(str(share.folder("train") / f"{recipe}.py"))["main"](json.loads(flags))
    if world_size() > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
