"""The catalog: a folder is a registry, a file's stem is a public name.

`names("encoders")` reads a directory and imports nothing; `load("encoders", "whisper")` imports one file and returns
the one object its `__all__` names. A new file is therefore found, listed and tested without touching a table.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from unifusion import share
from unifusion.errors import ConfigError, nearest

__all__ = ["KINDS", "folder", "load", "names"]

KINDS = {
    "encoders": "encoder",
    "adapters": "adapter",
    "datasets": "dataset",
    "tasks": "task",
    "fusions": "fusion",
    "late_fusions": "late_fusion",
    "backends": "backend",
    "losses": "",
    "metrics": "",
}
"""Kinds that hold Python objects, each with the stem of its contract file (not itself an entry)."""

_FOLDERS = {"fusions": "models/fusions", "late_fusions": "models/late_fusions", "backends": "retrieval/backends"}
"""Where a kind's files are, if not in a folder of its name."""

SHARED = {
    "prompts": ("prompts", "*.yaml"),
    "recipes": ("train", "*.py"),
    "suites": ("eval", "*.py"),
    "checkpoints": ("checkpoints", "*/config.json"),
}
"""Kinds that are shared files: folder and pattern."""


def names(kind: str) -> list[str]:
    """Return the sorted public names of one kind (`encoders`, `prompts`, `recipes` ..).

    Raises:
        ConfigError: there is no such kind.
    """
    if kind in SHARED:
        where, pattern = SHARED[kind]
        found = share.folder(where).glob(pattern)
        return sorted(p.parent.name if pattern.startswith("*/") else p.stem for p in found if not p.stem.startswith("_"))
    if kind not in KINDS:
        raise ConfigError(f"no kind {kind!r} in the catalog;", remedy=nearest(kind, [*KINDS, *SHARED]))
    return sorted(p.stem for p in folder(kind).glob("*.py") if not p.stem.startswith("_") and p.stem != KINDS[kind])


def folder(kind: str) -> Path:
    """Where the files of a kind of Python objects are."""
    return Path(__file__).resolve().parent / _FOLDERS.get(kind, kind)


def load(kind: str, name: str) -> Any:
    """Return the class or function `name` of one kind, importing only its file.

    `name` may also be `package.module:Class` for user code; a checkpoint may not name such a path (see checkpoint.py).

    Raises:
        ConfigError: the name is unknown (with the nearest match), or its module does not keep the contract.
    """
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"cannot load {name!r}: {error};", remedy="give package.module:Class that Python can import.") from error
    if kind not in KINDS:
        raise ConfigError(f"kind {kind!r} holds no Python objects;", remedy=nearest(kind, list(KINDS)))
    if name not in names(kind):
        one = "loss" if kind == "losses" else kind[:-1].replace("_", " ")
        raise ConfigError(f"no {one} named {name!r};", remedy=nearest(name, names(kind)))
    where = _FOLDERS.get(kind, kind)
    module = importlib.import_module(f"unifusion.{where.replace('/', '.')}.{name}")
    exported = getattr(module, "__all__", [])
    if len(exported) != 1:
        raise ConfigError(f"unifusion/{where}/{name}.py must name exactly one object in __all__, it names {list(exported)};")
    return getattr(module, exported[0])
