"""`unifusion data inspect`: what is in a source: counts, lengths, labels, leaks, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common
from unifusion.cli.data_sources import Dataset, Option, Place, Split, opened

__all__ = ["inspect"]

Out = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="DIR", help="Write inspect.json, pictures and a page.", show_default=False)
]
NoMedia = Annotated[bool, typer.Option("--no-media", help="Leave media files alone: no lengths, nothing of what is missing.")]
ModelName = Annotated[str | None, typer.Option("--model", metavar="DIR", help="Count tokens by this checkpoint.", show_default=False)]


def inspect(
    path: Place,
    dataset: Dataset = None,
    split: Split = None,
    option: Option = [],  # noqa: B006 - Typer copies it
    model: ModelName = None,
    no_media: NoMedia = False,
    out: Out = None,
    json: common.Json = False,
) -> None:
    """Tell what is in a source: rows, lengths, words, tokens, labels, groups in two splits, missing and broken files, duplicates."""
    from tqdm import tqdm

    from unifusion.curation.inspect_page import told, write_inspected
    from unifusion.curation.inspecting import inspect as work

    source = opened(path, dataset, split, option)
    with tqdm(unit="row", disable=None) as bar:
        found = work(source, media=not no_media, model=model or "", progress=bar.update)
    if out is not None:
        lacking = write_inspected(found, str(path), out)
        common.note(f"{out}/index.html has the page, inspect.json all of it. {lacking}".rstrip())
    if json:
        common.print_json({"source": str(path), "read_as": source.said, **found.to_dict()})
        return
    for line in told(found, str(path)):
        typer.echo(common.visible(line))
