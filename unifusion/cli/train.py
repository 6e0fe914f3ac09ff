"""`unifusion train RECIPE ..`: run a recipe that ships with the project, or a copy of one, by its name or its path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from unifusion import catalog, share
from unifusion.errors import ConfigError, nearest

__all__ = ["PASS_ON", "load_script", "run_script", "train"]

PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Typer settings of a command that hands all further words, --help included, to a script."""

_PROCESSES = "Train in several processes of torchrun, one a GPU or one a core, that share the batch."
Processes = Annotated[int | None, typer.Option("--processes", help=_PROCESSES)]
Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A name of `unifusion list recipes`, or the path of a copy.")]


def train(context: typer.Context, recipe: Recipe, processes: Processes = None) -> int:
    """Run a recipe of training. Its own flags or --config file.yaml follow it; `unifusion train RECIPE --help` lists them."""
    if recipe in ("-h", "--help"):
        typer.echo(context.get_help())
        typer.echo("\nRecipes: " + ", ".join(catalog.names("recipes")))
        return 0
    path = recipe_path(recipe)
    if not {"-h", "--help"}.isdisjoint(context.args):
        typer.echo(f"Every recipe also takes --processes N: {_PROCESSES}\n", err=True)
    if processes is None:
        return run_script(path, context.args)
    if "processes" in getattr(getattr(load_script(path), "Choices", None), "__dataclass_fields__", ()):  # it launches its stages itself
        return run_script(path, ["--processes", str(processes), *context.args])
    from unifusion.training.launch import launch

    return launch([str(path), *context.args], processes)


def recipe_path(recipe: str) -> Path:
    """Return the file of a recipe by name (`instruct`, `train/instruct`) or by path (`./mine.py`).

    Raises:
        ConfigError: there is no such recipe, with the nearest name.
    """
    if recipe.endswith(".py"):
        path = Path(recipe)
        if not path.is_file():
            raise ConfigError(f"no recipe file {recipe!r};", remedy="unifusion copy RECIPE . puts one there.")
        return path
    name = recipe.removeprefix("train/")
    if name not in catalog.names("recipes"):
        raise ConfigError(f"no recipe named {recipe!r};", remedy=nearest(name, catalog.names("recipes")))
    return share.folder("train") / f"{name}.py"


def load_script(path: Path) -> ModuleType:
    """Import a script from its file, under a name of its own so that it can shadow no library."""
    name = f"unifusion_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file;", remedy="a recipe is one .py file with main(argv).")
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs: dataclasses and pickle look a class's module up by name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def run_script(path: Path, argv: Sequence[str]) -> int:
    """Call `main(argv)` of a script and return its exit code.

    Raises:
        ConfigError: the script has no main.
    """
    module = load_script(path)
    if not callable(getattr(module, "main", None)):
        raise ConfigError(f"{path} has no main(argv);", remedy="write one that takes the words after the recipe's name.")
    result = module.main(list(argv))
    return result if isinstance(result, int) else 0
