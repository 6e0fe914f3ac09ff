"""`unifusion table RESULTS ..`: results of suites side by side, for a page or a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common

__all__ = ["table"]

_RESULTS = "results.json of `unifusion eval SUITE`, or their folders; NAME=PATH gives a system its name."
_ROWS = "Further rows of each system, by what was left out: blind, text .. (commas); none leaves them out."
Results = Annotated[list[str], typer.Argument(metavar="RESULTS ..", help=_RESULTS, show_default=False)]
Form = Annotated[str, typer.Option("--format", metavar="NAME", help="markdown or latex (booktabs).")]
Columns = Annotated[str, typer.Option("--columns", metavar="A,B:METRIC", help="Parts, in order; default all.", show_default=False)]
Conditions = Annotated[str, typer.Option("--conditions", metavar="A,B", help=_ROWS)]
Best = Annotated[str, typer.Option("--best", metavar="bold|none", help="Best bold and second underlined, or nothing marked.")]
Scoring = Annotated[str, typer.Option("--scoring", metavar="NAME", help="likelihood, generation, rotated.", show_default=False)]
Mean = Annotated[bool, typer.Option("--mean", help="Add the plain mean over the columns.")]
Percent = Annotated[bool, typer.Option("--percent", help="Numbers of which more is better, times 100.")]
Decimals = Annotated[int | None, typer.Option("--decimals", metavar="N", min=0, max=6, help="Digits (3; percent 1).", show_default=False)]
Intervals = Annotated[bool, typer.Option("--intervals/--no-intervals", help="With confidence intervals.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write there instead.", show_default=False)]


def table(
    results: Results,
    form: Form = "markdown",
    columns: Columns = "",
    conditions: Conditions = "blind",
    best: Best = "bold",
    scoring: Scoring = "",
    mean: Mean = False,
    percent: Percent = False,
    decimals: Decimals = None,
    intervals: Intervals = True,
    out: Out = None,
) -> None:
    """Make a table of results: systems in rows, parts in columns, with chance, the most frequent answer and what a blind model gets."""
    from unifusion import atomic
    from unifusion.errors import ConfigError
    from unifusion.evaluation.paper_results import read_results
    from unifusion.evaluation.paper_table import paper_table
    from unifusion.evaluation.paper_table_written import written

    if best not in ("bold", "none"):
        raise ConfigError(f"--best {best!r};", remedy="wanted bold or none.")
    found = paper_table(
        read_results(results), columns=_names(columns), conditions=_names(conditions), mean=mean, mark=best == "bold", scoring=scoring,
        percent=percent, decimals=decimals, intervals=intervals,
    )  # fmt: skip
    text = written(found, form)
    if out is None:
        print(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out, text + "\n")
    common.note(f"[{out}]")


def _names(told: str) -> list[str]:
    """Names between commas; "none" names nothing."""
    return [name.strip() for name in told.split(",") if name.strip() and told.strip() != "none"]
