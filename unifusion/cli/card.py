"""`unifusion card`: write a checkpoint's model card from its results files."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["card"]

Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Folder with provenance.json and evaluation/*.json.")]


def card(checkpoint: Checkpoint) -> None:
    """Write README.md of a checkpoint from its results and its provenance; nothing is measured again."""
    from unifusion.evaluation.card import write_card
    from unifusion.share import resolve_checkpoint

    typer.echo(str(write_card(resolve_checkpoint(checkpoint))))
