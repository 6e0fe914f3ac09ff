"""What commands over a manifest share: options, and going on with a file of answers that is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from unifusion.cli import common

if TYPE_CHECKING:
    from unifusion.evaluation.manifest import Row
    from unifusion.evaluation.outfile import Marked, OutFile, Run

__all__ = ["BatchSize", "Overwrite", "Retry", "heard_rows", "over_manifest"]

BatchSize = Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Rows answered at once.")]
M = TypeVar("M", bound="Marked")
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Begin again instead of going on with OUT.jsonl.")]
Retry = Annotated[bool, typer.Option("--retry-errors", help="Try the rows again that ended in an error.")]


def heard_rows(rows: Sequence[Row], words: common.Words | None) -> list[Row]:
    """Rows whose clips get their timed words when they are opened, unless the row tells them.

    Raises:
        typer.BadParameter: one file of subtitles for all of them.
    """
    if words is None:
        return list(rows)
    if words.subtitles not in (None, "auto"):
        raise typer.BadParameter("--subtitles of a manifest is auto; rows may have `subtitles` of their own.")
    return [replace(row, listen=words.of) for row in rows]


def over_manifest(
    rows: Sequence[M], out: Path, run: Run, answer: Callable[[Any, Sequence[M], OutFile], None], *,
    load: Callable[..., Any] = common.load_engine,
    isolate: bool = False, lenient: bool = False, features: str | None = None, device: str = "", overwrite: bool = False,
    retry_errors: bool = False,
) -> None:  # fmt: skip
    """Answer the rows that have no answer in `out` yet, and say how it went.

    Args:
        rows: of the manifest.
        out: the file of answers.
        run: what they depend on.
        answer: writes the answers of some rows.
        load: loads what answers.
        isolate: decode in a child process.
        lenient: take what can be read of damaged files.
        features: folder of a store of encoded clips.
        device: where to compute; a GPU where there is one.
        overwrite: begin again.
        retry_errors: answer rows again that hold an error.

    Raises:
        typer.Exit: with 3, no row could be answered.
    """
    from unifusion.evaluation.outfile import OutFile

    def engine() -> Any:
        """The model."""
        with common.quiet_stdout():
            return load(run.model, isolate=isolate, lenient=lenient, features=features, device=device)

    # Old answers are given up for a model that loads.
    loaded = engine() if overwrite else None
    with OutFile.open(out, run, overwrite=overwrite, retry_errors=retry_errors) as sink:
        waiting = sink.waiting(rows)
        if waiting:
            loaded = loaded or engine()
            with common.quiet_stdout():
                answer(loaded, waiting, sink)
        common.note(f"{out}: {len(rows)} rows, {len(rows) - len(waiting)} were there already, {sink.errors} hold an error")
    if waiting and sink.errors >= len(rows):
        raise typer.Exit(3)
