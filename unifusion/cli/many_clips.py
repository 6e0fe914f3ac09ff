"""What the commands that run over many clips share: which clips, which part of them, where, and what bad ones do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

__all__ = ["Bad", "Data", "Engine", "MaxBad", "On", "OnBad", "Part"]


class Engine(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


class OnBad(StrEnum):
    """What a clip that cannot be read does to the run."""

    stop = "stop"
    skip = "skip"


Data = Annotated[list[str], typer.Argument(metavar="DATA..", help="A manifest or messages (.jsonl), folders, files.", show_default=False)]
Part = Annotated[str, typer.Option("--shard", metavar="I/N", help="The I-th (from 0) of N parts of the clips, as of a job array.")]
On = Annotated[Engine, typer.Option("--engine", help="Here, or on Ray (RAY_ADDRESS names a cluster).")]
Bad = Annotated[OnBad, typer.Option("--on-bad-media", help="End at a bad clip, or note it in quarantine.jsonl of OUT.")]
MaxBad = Annotated[float, typer.Option("--max-bad", metavar="R", min=0.0, max=1.0, help="Share of bad clips that ends such a run too.")]
