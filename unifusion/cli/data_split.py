"""`unifusion data split`: train, val and test without a speaker, talk or recording in two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common
from unifusion.cli.data_sources import Dataset, Option, Place, opened

__all__ = ["split"]

Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of train.jsonl, val.jsonl, test.jsonl and split.json.")]
Val = Annotated[float, typer.Option("--val", metavar="R", min=0.0, max=1.0, help="Share of the rows.")]
Test = Annotated[float, typer.Option("--test", metavar="R", min=0.0, max=1.0, help="Share of the rows.")]
By = Annotated[str, typer.Option("--by", metavar="KEY", help="What no two splits share: group, or a label such as speaker.")]
Stratify = Annotated[
    str | None, typer.Option("--stratify", metavar="KEY", help="Label whose shares splits have alike.", show_default=False)
]
Seed = Annotated[int, typer.Option("--seed", help="Another seed, another split.")]
Again = Annotated[bool, typer.Option("--again", help="Split rows anew that have a split; without it they keep it.")]
Ids = Annotated[bool, typer.Option("--ids", help="Write lists of ids (train.txt ..), not rows.")]


def split(
    path: Place,
    out: Out,
    val: Val = 0.1,
    test: Test = 0.1,
    by: By = "group",
    stratify: Stratify = None,
    seed: Seed = 0,
    again: Again = False,
    ids: Ids = False,
    dataset: Dataset = None,
    option: Option = [],  # noqa: B006 - Typer copies it
    json: common.Json = False,
) -> None:
    """Split rows so that no group is in two parts; the same rows and seed give the same parts, in whatever order they stand."""
    from tqdm import tqdm

    from unifusion.curation.dividing import divide

    source = opened(path, dataset, None, option)
    with tqdm(unit="row", disable=None) as bar:
        plan = divide(source, out, val=val, test=test, by=by, stratify=stratify, seed=seed, again=again, ids=ids, progress=bar.update)
    told = plan.to_dict()
    if json:
        common.print_json({"out": str(out), **told})
        return
    for part, count in told["rows"].items():
        typer.echo(f"{part:5} {count} rows ({told['shares'][part]:.1%}), {told['groups'][part]} groups")
    if plan.kept:
        typer.echo(f"{plan.kept} rows kept the split that they, or others of their group, had (--again splits them anew)")
    if stratify:
        worst = told["worst"]
        typer.echo(
            f"{stratify}: shares differ from the whole's by at most {worst['difference']:.1%} ({worst['label']} in {worst['split']})"
        )
