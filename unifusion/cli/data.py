"""`unifusion data ..`: make data. `data world` renders clips of clip world with their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Make data: clips with known truth.", rich_markup_mode=None)

Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to write.")]
Count = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Clips.")]
Layout = Annotated[str, typer.Option("--layout", metavar="NAME", help="How the folder lies: jsonl, or the layout of a published dataset.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed, other clips.")]
Split = Annotated[str, typer.Option("--split", help="train, val, test_iid, test_new_people, test_new_combinations.")]

First = Annotated[int, typer.Option("--start", metavar="N", min=0, help="Index of the first clip.")]
PerClip = Annotated[int, typer.Option("--per-clip", metavar="N", min=1, help="Questions per clip.")]


@app.callback()
def _group() -> None:
    """Keep `world` a sub-command though it is the only one."""


@app.command()
def world(
    out: Out, count: Count = 8, layout: Layout = "jsonl", seed: Seed = 0, split: Split = "train", start: First = 0, per_clip: PerClip = 4
) -> None:
    """Render clips of clip world: mp4 files and a manifest with questions, answers and truth."""
    from tqdm import tqdm

    from unifusion.datasets.clip_world import write_world

    with tqdm(total=count, unit="clip", disable=None) as bar:
        manifest = write_world(
            out, layout=layout, on_clip=lambda _: bar.update(), count=count, seed=seed, split=split, start=start, per_clip=per_clip
        )
    typer.echo(str(manifest))
