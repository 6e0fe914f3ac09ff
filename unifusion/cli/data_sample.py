"""`unifusion data sample`: a small folder of rows and clips to try things with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common
from unifusion.cli.data_sources import Dataset, Option, Place, Split, opened

__all__ = ["sample"]

Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of rows.jsonl and media/.")]
Count = Annotated[int, typer.Option("-n", "--count", metavar="N", min=1, help="Rows; of each label with --per-label.")]
PerLabel = Annotated[str | None, typer.Option("--per-label", metavar="KEY", help="As many of each value of it.", show_default=False)]
Seed = Annotated[int, typer.Option("--seed", help="Another seed, other rows.")]
MaxMb = Annotated[float, typer.Option("--max-mb", metavar="MB", help="The most that is copied.")]


def sample(
    path: Place,
    out: Out,
    count: Count = 20,
    per_label: PerLabel = None,
    seed: Seed = 0,
    max_mb: MaxMb = 500.0,
    dataset: Dataset = None,
    split: Split = None,
    option: Option = [],  # noqa: B006 - Typer copies it
    json: common.Json = False,
) -> None:
    """Copy a few rows and their clips into a folder; every command reads its rows.jsonl at once.

    Files are copied whole, each once; rows keep their spans. Rows whose clip is missing are passed over.
    """
    from unifusion.curation.sampling import sample as work

    done = work(opened(path, dataset, split, option), out, count=count, per_label=per_label, seed=seed, max_mb=max_mb)
    if json:
        common.print_json({"out": str(out), **vars(done)})
        return
    labels = f": {', '.join(f'{n} {label}' for label, n in done.labels.items())}" if per_label else ""
    passed = f", {done.passed_over} passed over" if done.passed_over else ""
    typer.echo(common.visible(f"{out}/rows.jsonl: {done.rows} rows{labels}, {done.files} files ({done.n_bytes / 1e6:.1f} MB){passed}"))
