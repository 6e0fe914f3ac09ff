"""What the commands of `unifusion data` that read data share: which data, which reader, which rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from unifusion.curation.source import Source

__all__ = ["Dataset", "Option", "Place", "Split", "TaskName", "opened"]

Place = Annotated[Path, typer.Argument(metavar="PATH", help="A .jsonl, .tar, .parquet, a .yaml of a mixture, or a set's folder.")]
Dataset = Annotated[
    str | None, typer.Option("--dataset", metavar="NAME", help="Its reader (unifusion list datasets); guessed without.", show_default=False)
]
Split = Annotated[str | None, typer.Option("--split", metavar="NAME", help="Rows of this split alone.", show_default=False)]
TaskName = Annotated[str | None, typer.Option("--task", metavar="NAME", help="What asks about rows without a conversation.")]
Option = Annotated[list[str], typer.Option("--option", metavar="KEY=VALUE", help="Of the reader; may be said again.", show_default=False)]


def opened(
    path: Path, dataset: str | None, split: str | None, option: Sequence[str], *, task: str | None = None, stream: bool = False
) -> Source:  # fmt: skip
    """Open a source and say on stderr how it was understood.

    Raises:
        ConfigError: no such reader or task, or an option that is none.
        DatasetError: it cannot be read.
    """
    from unifusion.cli.common import note, quiet_libraries
    from unifusion.curation.source import open_source

    quiet_libraries()
    source = open_source(path, dataset=dataset, split=split, task=task, options=_options(option), stream=stream)
    note(f"{path}: {source.said}")
    return source


def _options(words: Sequence[str]) -> dict[str, Any]:
    """Options of a reader, their values as YAML has them."""
    import yaml

    found = {}
    for word in words:
        key, sign, value = word.partition("=")
        if not sign:
            raise typer.BadParameter(f"--option {word!r} is no KEY=VALUE.")
        found[key] = yaml.safe_load(value)
    return found
