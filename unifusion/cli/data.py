"""`unifusion data ..`: make data, look at it before it is trained on, and bring it into other forms."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import data_convert, data_inspect, data_sample, data_split, data_validate, instruct_data, lmms_data, windows

__all__ = ["app"]

app = typer.Typer(help="Make data, look at it, and bring it into other forms.", rich_markup_mode=None)

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


app.command()(instruct_data.instruct)
app.command()(instruct_data.view)
app.command()(lmms_data.lmms)


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


app.command()(data_inspect.inspect)
app.command()(data_validate.validate)
app.command()(data_convert.convert)
app.command()(data_split.split)
app.command()(data_sample.sample)
app.command("windows")(windows.windows)
