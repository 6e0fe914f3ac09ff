"""The folder of a library: room for a new one, and what killed writers left in it. Nothing but what a library consists of is removed."""

from __future__ import annotations

import shlex
from pathlib import Path

from unifusion.atomic import remove_folder, sweep
from unifusion.errors import ConfigError
from unifusion.retrieval.repair import sweep_merged

__all__ = ["clear", "must_be_free", "tidy"]

_OWN = {"manifest.json", "segments", "backends", "broken", "quarantine.jsonl", "lock"}


def must_be_free(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that a new library cannot have.

    Raises:
        ConfigError: it is a file, holds something else, or a library that is not to be overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file;", remedy="name a new folder for the index.")
    there = {p.name for p in folder.iterdir() if not _litter(p)} if folder.exists() else set()
    if there - _OWN:
        raise ConfigError(f"{folder} holds {', '.join(sorted(there - _OWN)[:3])};", remedy="name a new folder for the index.")
    if there - {"lock"} and not overwrite:
        again = f"unifusion index DIR.. -o {shlex.quote(str(folder))} --overwrite"
        raise ConfigError(f"{folder} holds a library already;", remedy=f"go on with it, or begin again: {again}")


def _litter(path: Path) -> bool:
    """Whether a killed writer left it."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def clear(folder: Path) -> None:
    """Remove the library in a folder. Its lock is held."""
    for name in ("backends", "segments", "broken"):
        if (folder / name).exists():
            remove_folder(folder / name)
    (folder / "quarantine.jsonl").unlink(missing_ok=True)


def tidy(folder: Path) -> None:
    """Remove what killed writers left. The lock is held."""
    for inside in (folder, folder / "segments", folder / "backends"):
        sweep(inside)
    sweep_merged(folder / "segments")
