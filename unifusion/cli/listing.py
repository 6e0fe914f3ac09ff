"""`unifusion list KIND` and `unifusion copy WHAT DIR`: what an installation holds, and a copy of it to change."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Annotated

import typer

from unifusion import catalog, share
from unifusion.errors import ConfigError, nearest

__all__ = ["copy", "list_names"]

Kind = Annotated[str | None, typer.Argument(metavar="KIND", help="encoders, adapters, tasks, prompts, recipes ..", show_default=False)]
Long = Annotated[bool, typer.Option("--long", "-l", help="With the first line that each says of itself.")]
What = Annotated[str, typer.Argument(metavar="WHAT", help="A recipe, or folder/name (prompts/emotion), or a whole folder (train).")]
Target = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to copy into; made when it is not there.")]
Force = Annotated[bool, typer.Option("--force", help="Write over what is there.")]


def list_names(kind: Kind = None, long: Long = False) -> None:
    """List what can be named. Without KIND all kinds, with it one name a line."""
    if kind is None:
        for each in [*catalog.KINDS, *catalog.SHARED]:
            typer.echo(f"{each:12} {', '.join(catalog.names(each)) or '-'}")
        return
    for name in catalog.names(kind):
        typer.echo(f"{name:24} {first_line(kind, name)}".rstrip() if long else name)


def first_line(kind: str, name: str) -> str:
    """Return the first line of what an entry says of itself, read without importing it."""
    if kind in catalog.SHARED:
        folder, pattern = catalog.SHARED[kind]
        path = share.folder(folder) / pattern.replace("*", name, 1)
    else:
        path = catalog.folder(kind) / f"{name}.py"
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    if path.suffix == ".yaml":
        import yaml

        described = yaml.safe_load(path.read_text(encoding="utf-8"))
        return str(described.get("description", "")).strip().partition("\n")[0]
    return ""


def copy(what: What, target: Target, force: Force = False) -> None:
    """Copy a recipe out, to change it. Prompts, suites and checkpoints as well."""
    source = shared_file(what)
    destination = target / source.name
    if destination.exists() and not force:
        raise ConfigError(f"{destination} is there already;", remedy="choose another folder, or add --force.")
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, destination, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, destination)
    typer.echo(str(destination))


def shared_file(what: str) -> Path:
    """Return the shared file or folder called `what`: a bare name is a recipe, `folder/name` anything shared, `train` a whole folder.

    Raises:
        ConfigError: there is none, with the nearest name.
    """
    if what.strip("/") in share.FOLDERS:
        return share.folder(what.strip("/"))
    folder, _, name = what.rpartition("/")
    folder = folder or "train"
    if folder not in share.FOLDERS:
        raise ConfigError(f"no shared folder {folder!r} in {what!r};", remedy=f"there are {', '.join(share.FOLDERS)}.")
    entries = {p.name: p for p in share.folder(folder).iterdir() if not p.name.startswith(("_", "."))}
    by_stem = {p.stem if p.is_file() else p.name: p for p in entries.values()}
    found = entries.get(name) or by_stem.get(name)
    if found is None:
        raise ConfigError(f"nothing called {name!r} in {folder}/;", remedy=nearest(name, sorted(by_stem)))
    return found
