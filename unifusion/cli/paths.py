"""`unifusion paths [NAME]`: where shared files lie, for programs that want a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from unifusion import share
from unifusion.errors import ConfigError, nearest

__all__ = ["paths"]

_WITHIN = {"lmms-tasks": ("eval", "lmms_eval_tasks"), "metrics": ("eval", "metrics")}
"""Folders within shared ones that others ask for by a name of their own."""

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="prompts, train, eval, metrics, lmms-tasks ..", show_default=False)]


def paths(name: Name = None) -> None:
    """Print the folder of shared files of this name, or all of them: lmms-eval --include_path $(unifusion paths lmms-tasks)."""
    known = [*share.FOLDERS, *_WITHIN]
    if name is None:
        for each in known:
            typer.echo(f"{each:18} {_folder(each)}")
        return
    if name not in known:
        raise ConfigError(f"no shared folder {name!r};", remedy=nearest(name, known))
    typer.echo(_folder(name))


def _folder(name: str) -> str:
    """The path of one."""
    outer, *inner = _WITHIN.get(name, (name,))
    return str(share.folder(outer).joinpath(*inner))
