"""The results of suites as files, for tables of several systems."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unifusion.errors import DatasetError

__all__ = ["Measured", "read_results"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One `results.json`.

    Attributes:
        name: of the system.
        path: of the file.
        suite: that was run.
        parts: as the file has them.
        rows: part -> a hash of its rows, of files that tell it.
    """

    name: str
    path: Path
    suite: str
    parts: Mapping[str, Mapping[str, Any]]
    rows: Mapping[str, str] = field(default_factory=dict)


def read_results(named: Sequence[str]) -> list[Measured]:
    """Read files or folders with `results.json`; `NAME=PATH` gives a system its name in the table.

    Raises:
        DatasetError: one cannot be read, or two systems have one name.
    """
    found = [_read(one) for one in named]
    names = [one.name for one in found]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise DatasetError(f"two systems are called {twice[0]!r};", remedy="give them names: NAME=PATH.")
    return found


def _read(named: str) -> Measured:
    """One of them."""
    name, mark, rest = named.partition("=")
    path = Path(rest if mark and not Path(named).exists() else named)
    file = path / "results.json" if path.is_dir() else path
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"cannot read the results {file}: {reason};", remedy="name a results.json of `unifusion eval SUITE`.") from error
    parts = raw.get("parts") if isinstance(raw, dict) else None
    if not isinstance(parts, dict) or not parts or not all(isinstance(p, dict) for p in parts.values()):
        raise DatasetError(f"{file} has no parts;", remedy="name a results.json of `unifusion eval SUITE`.")
    model = raw.get("model")
    told = model.get("name") if isinstance(model, dict) else model
    given = name if mark and path != Path(named) else str(told or file.parent.name)
    rows = raw.get("rows")
    told_rows = {k: str(v) for k, v in rows.items()} if isinstance(rows, dict) else {}
    return Measured(name=given, path=file, suite=str(raw.get("suite") or ""), parts=parts, rows=told_rows)
