"""`unifusion data lmms TASK PATH`: the file that a task of the pack for lmms-eval reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["lmms"]

Task = Annotated[str, typer.Argument(metavar="TASK", help="meld, mer, crema_d .. or emotion, open_qa, sound with any reader.")]
Where = Annotated[Path, typer.Argument(metavar="PATH", help="The data as the reader wants it.")]
Reader = Annotated[str, typer.Option("--dataset", metavar="NAME", help="Reader of emotion, open_qa and sound (`unifusion list datasets`).")]
Split = Annotated[str, typer.Option("--split", metavar="NAME", help="Of the data; all takes every one.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder; lmms-eval is run beside it.")]


def lmms(task: Task, path: Where, dataset: Reader = "messages", split: Split = "test", out: Out = Path("lmms_data")) -> None:
    """Write the rows of a task for lmms-eval, with any reader. Rows without media are left out and counted."""
    from unifusion import catalog
    from unifusion.integrations.lmms_eval.pack import packed_of, write_rows

    packed = packed_of(task)
    name = task.removeprefix("uf_")
    reader: Any = catalog.load("datasets", packed.dataset or dataset)
    target = out / f"{name}.jsonl"
    rows, missing = write_rows(reader(path, split=None if split == "all" else split), target, packed)
    typer.echo(f"{target}: {rows} rows of uf_{name}" + (f", {missing} without their media are left out" if missing else ""))
