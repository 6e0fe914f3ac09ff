"""`unifusion eval SUITE ..`: measure a model with a suite that ships with the project, or a copy of one, by its name or its path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unifusion import catalog, share
from unifusion.cli.train import run_script
from unifusion.errors import ConfigError, nearest

__all__ = ["evaluate", "suite_path"]

Suite = Annotated[str, typer.Argument(metavar="SUITE", help="A name of `unifusion list suites`, or the path of a copy.")]


def evaluate(context: typer.Context, suite: Suite) -> int:
    """Run a suite of evaluation. Its own flags or --config file.yaml follow it; `unifusion eval SUITE --help` lists them."""
    if suite in ("-h", "--help"):
        typer.echo(context.get_help())
        typer.echo("\nSuites: " + ", ".join(catalog.names("suites")))
        return 0
    return run_script(suite_path(suite), context.args)


def suite_path(suite: str) -> Path:
    """Return the file of a suite by name (`people`, `eval/people`) or by path (`./mine.py`).

    Raises:
        ConfigError: there is no such suite, with the nearest name.
    """
    if suite.endswith(".py"):
        path = Path(suite)
        if not path.is_file():
            raise ConfigError(f"no suite file {suite!r};", remedy="unifusion copy eval/SUITE . puts one there.")
        return path
    name = suite.removeprefix("eval/")
    if name not in catalog.names("suites"):
        raise ConfigError(f"no suite named {suite!r};", remedy=nearest(name, catalog.names("suites")))
    return share.folder("eval") / f"{name}.py"
