"""`unifusion compare A B ..`: emotion systems side by side on the examples that all have, and which one wins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion.cli import common

__all__ = ["compare"]

_SYSTEMS = "Folders that `unifusion eval emotion` or `eval report` wrote, or files of predictions; NAME=PATH gives one a name."
_METRICS = "What decides: uar, accuracy, weighted_f1, macro_f1, ece, ccc_valence, ccc_arousal, mae_valence .."
Systems = Annotated[list[str], typer.Argument(metavar="A B ..", help=_SYSTEMS, show_default=False)]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="DIR", help="Write page, tables and forest plot.", show_default=False)]
Metric = Annotated[str, typer.Option("--metric", metavar="NAME", help=_METRICS)]
Split = Annotated[str, typer.Option("--split", metavar="NAME", help="Default: test, else val, where all have it.", show_default=False)]
Condition = Annotated[str, typer.Option("--condition", metavar="NAME", help="What was left out when they answered.")]
Against = Annotated[str, typer.Option("--against", metavar="best|first", help="What every system is tested against.")]
Resamples = Annotated[int, typer.Option("--resamples", metavar="N", min=100, help="Of every interval and test.")]


def compare(
    systems: Systems,
    out: Out = None,
    metric: Metric = "uar",
    split: Split = "",
    condition: Condition = "all",
    against: Against = "best",
    resamples: Resamples = 2000,
    json: common.Json = False,
) -> None:
    """Compare emotion systems: figures with intervals, paired tests, and which one wins, if any.

    Only examples that every system has count; a difference is claimed where its Holm-adjusted p is below .05.
    """
    from unifusion.evaluation import compare as work
    from unifusion.evaluation.compare_report import differences_table, figures_table, scope, write_comparison
    from unifusion.evaluation.emotion_units import Draws

    draws = Draws(resamples=resamples)
    found = work.compare(work.read_systems(systems), metric=metric, split=split, condition=condition, against=against, draws=draws)
    page = write_comparison(found, out) if out is not None else None
    if json:
        common.print_json(found)
        return
    for text in (scope(found), figures_table(found, short=True).text(), differences_table(found).text(), found["verdict"]):
        print(common.visible(text), end="\n\n" if text != found["verdict"] else "\n")
    if page is not None:
        common.note(f"[{page}]")
