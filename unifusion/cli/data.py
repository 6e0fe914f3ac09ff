"""`unifusion data ..`: make data. `data world` renders clips of clip world with their truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import windows

__all__ = ["app"]

app = typer.Typer(help="Make data: clips with known truth.", rich_markup_mode=None)

Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder to write.")]
Count = Annotated[int, typer.Option("--count", metavar="N", min=1, help="Clips; of avamerg and meld, conversations.")]
Layout = Annotated[str, typer.Option("--layout", metavar="NAME", help="jsonl, avamerg, meld, crema_d, ravdess.")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed, other clips.")]
Split = Annotated[
    str | None, typer.Option("--split", help="Of jsonl: train (default), val, test_iid, test_new_people, test_new_combinations.")
]
First = Annotated[int | None, typer.Option("--start", metavar="N", min=0, help="Of jsonl: index of the first clip.")]
PerClip = Annotated[int | None, typer.Option("--per-clip", metavar="N", min=1, help="Of jsonl: questions per clip (4).")]
Size = Annotated[int | None, typer.Option("--size", metavar="PX", min=1, help="Width and height (112).")]
Duration = Annotated[float | None, typer.Option("--duration", metavar="S", help="Length of a clip (6; 4 of the other layouts).")]


@app.callback()
def _group() -> None:
    """Keep `world` a sub-command though it is the only one."""


@app.command()
def world(
    out: Out, count: Count = 8, layout: Layout = "jsonl", seed: Seed = 0, split: Split = None, start: First = None,
    per_clip: PerClip = None, size: Size = None, duration: Duration = None,
) -> None:  # fmt: skip
    """Render clips of clip world: files, and their truth as questions or as a published set has it."""
    from tqdm import tqdm

    from unifusion.datasets.clip_world import write_world

    given = {"split": split, "start": start, "per_clip": per_clip, "size_px": size, "duration_s": duration}
    chosen = {name: found for name, found in given.items() if found is not None}
    with tqdm(total=count if layout == "jsonl" else None, unit="clip" if layout == "jsonl" else "file", disable=None) as bar:
        manifest = write_world(out, layout=layout, on_clip=lambda _: bar.update(), count=count, seed=seed, **chosen)
    typer.echo(str(manifest))


app.command("windows")(windows.windows)
