"""`unifusion merge`: fold LoRA weights into the language model they tune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common

__all__ = ["merge"]

Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Folder with adapter_config.json and LoRA weights.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the merged checkpoint.")]


def merge(checkpoint: Checkpoint, out: Out) -> None:
    """Merge LoRA into the language model. Equal logits are checked before the new checkpoint is written."""
    from unifusion import checkpoint as checkpoints

    with common.quiet_stdout():
        checkpoints.merge(checkpoint, out)
    typer.echo(str(out))
