"""`unifusion fuse`: what several systems said of the same examples becomes one answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unifusion.cli import common

__all__ = ["fuse"]

Runs = Annotated[list[Path], typer.Argument(metavar="RUN..", help="Folders with predictions.jsonl, or files of predictions or answers.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder for predictions.jsonl and fusion.json.")]
Method = Annotated[str, typer.Option("--method", help="How; see: unifusion list late_fusions. `all` tries every one.")]
Truth = Annotated[
    Path | None, typer.Option("--truth", metavar="MANIFEST.jsonl", help="Of answers: id, emotion, split, group.", show_default=False)
]
Choose = Annotated[
    list[str] | None, typer.Option("--choose", metavar="KEY=VALUE", help="A choice of the method; repeatable.", show_default=False)
]
Drop = Annotated[
    list[str] | None,
    typer.Option("--drop", metavar="RUN:SHARE", help="Let a run be missing for a random share of the examples.", show_default=False),
]
Folds = Annotated[int, typer.Option("--folds", metavar="N", min=2, help="By groups, for the figures on val rows.")]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn.")]


def fuse(
    runs: Runs,
    out: Out,
    method: Method = "weighted",
    truth: Truth = None,
    choose: Choose = None,
    drop: Drop = None,
    folds: Folds = 5,
    seed: Seed = 0,
) -> None:
    """Fuse what several systems said of the same examples.

    Fitted on rows of split val, whose own fused answers come from fits without their group; test rows come from the fit on all of val.
    Prints each system alone and the fusion. An example that a system did not answer counts as wrong for it; the fusion goes without.

    With --method all every fusion has its folder in OUT, and the one that is best on val stands in OUT itself.
    """
    from tqdm import tqdm

    from unifusion import catalog
    from unifusion.evaluation import fuse as work
    from unifusion.evaluation.systems import drop as let_go
    from unifusion.evaluation.systems import read_systems, tables

    shares, choices = _shares(drop or []), {"seed": seed, **_choices(choose or [])}
    if method == "all" and choose:
        raise typer.BadParameter("--choose goes with one --method.")
    methods = catalog.names("late_fusions") if method == "all" else [method]
    systems = read_systems(runs, truth=truth)
    found = [let_go(table, systems, shares, seed) for table in tables(systems)]
    _tell(systems, found)
    bar = tqdm(methods, unit="method", disable=not sys.stderr.isatty() or len(methods) == 1)
    fused = [work.fuse(found, name, choices=choices, folds=folds) for name in bar]
    singles = {system.name: work.figures_of(found, m) for m, system in enumerate(systems)}
    more = {"drop": shares, "seed": seed, "folds": folds, "groups": len({r.group for r in found[0].rows if r.split == "val"})}
    best = work.best_of(fused)
    for one in fused if len(fused) > 1 else ():
        work.write_fused(one, out / one.method, systems, singles=singles, more=more)
    work.write_fused(best, out, systems, singles=singles, more=more)
    print(common.visible(work.summary(singles, fused)))
    if len(fused) > 1:
        print(f"best on val by UAR: {best.method}")
    common.note(str(out))


def _tell(systems: Any, found: Any) -> None:
    """Say beside the figures what a person should know before believing them."""
    table = found[0]
    for system in systems:
        known = {label for row in system.rows for label in row.probabilities}
        if lacking := [label for label in table.labels if label not in known]:
            common.note(f"{system.name} does not know {', '.join(lacking)}; it gives 0 there")
    if len({tuple(system.seeds) for system in systems}) > 1:
        common.note("the runs have different seeds: probabilities are averaged over each run's seeds")
    groups = {row.group for row in table.rows if row.split == "val"}
    if len(groups) == 1:
        common.note("val rows are of one group or name none: folds go through them, and figures on val may flatter")


def _shares(words: list[str]) -> dict[str, float]:
    """RUN:SHARE as numbers.

    Raises:
        typer.BadParameter: a share is no number.
    """
    found = {}
    for word in words:
        name, _, share = word.rpartition(":")
        try:
            found[name] = float(share)
        except ValueError as error:
            raise typer.BadParameter(f"--drop {word!r} must be RUN:SHARE, such as voice:0.3.") from error
    return found


def _choices(words: list[str]) -> dict[str, Any]:
    """KEY=VALUE, the values read as YAML.

    Raises:
        typer.BadParameter: a word has no value.
    """
    import yaml

    pairs = [word.partition("=") for word in words]
    if bad := next((w for w, (key, sign, _) in zip(words, pairs, strict=True) if not key or not sign), None):
        raise typer.BadParameter(f"--choose {bad!r} must be KEY=VALUE.")
    return {key: yaml.safe_load(value) for key, _, value in pairs}
