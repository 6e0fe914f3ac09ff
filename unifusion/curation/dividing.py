"""Splits written out: rows as JSONL, or lists of their ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion import atomic
from unifusion.curation.source import Source, taken
from unifusion.curation.spellings import plain_row
from unifusion.curation.splitting import PARTS, Row, SplitPlan, plan_splits, row_of
from unifusion.datasets._places import Places, placed
from unifusion.errors import ConfigError, DatasetError

__all__ = ["divide"]


def divide(
    source: Source, out: Path, *, val: float, test: float, by: str = "group", stratify: str | None = None, seed: int = 0,
    again: bool = False, ids: bool = False, progress: Callable[[int], None] | None = None,
) -> SplitPlan:  # fmt: skip
    """Split a source and write `out/train.jsonl`, `val.jsonl`, `test.jsonl` (or .txt with an id a line) and `split.json`.

    Args:
        source: opened; read twice.
        out: folder that does not hold them yet.
        val, test, by, stratify, seed, again: see `plan_splits` and `row_of`.
        ids: write lists of ids, not rows.
        progress: is told how many rows were written.

    Raises:
        ConfigError: the folder holds something.
        DatasetError: a row cannot be read, lacks what it is split by, or a list of ids would name two rows by one id.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already;", remedy="name a folder that is not.")
    rows: list[Row] = []
    base = source.path if source.path.is_dir() else source.path.parent
    for row in taken(source):
        if row.example is None:
            raise row.error or DatasetError(f"{row.where}: nothing;")
        rows.append(row_of(row.example, len(rows) + 1, base, by=by, stratify=stratify))
    if not rows:
        raise DatasetError(f"{source.path} has no rows;", remedy="name one that has.")
    plan = plan_splits(rows, val=val, test=test, seed=seed, again=again)
    if ids and len({row.id for row in rows}) < len(rows):
        raise DatasetError(f"{source.path} has two rows of one id;", remedy="give them ids of their own, or write rows.")
    told = {"source": str(source.path), "by": by, "stratify": stratify, "seed": seed, "val": val, "test": test, **plan.to_dict()}
    with atomic.atomic_folder(out) as folder:
        (folder / "split.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _write(source, folder, out, plan, rows if ids else None, progress)
    return plan


def _write(
    source: Source, folder: Path, out: Path, plan: SplitPlan, names: list[Row] | None, progress: Callable[[int], None] | None
) -> None:  # fmt: skip
    """One file a split that has rows; names of clips follow `out`, where the folder will be."""
    with ExitStack() as stack:
        end = "txt" if names is not None else "jsonl"
        files: dict[str, Any] = {
            part: stack.enter_context((folder / f"{part}.{end}").open("w", encoding="utf-8")) for part in PARTS if part in set(plan.splits)
        }
        if names is not None:
            for row, part in zip(names, plan.splits, strict=True):
                files[part].write(f"{row.id}\n")
            return
        places = Places(out)
        for taken_row, part in zip(taken(source), plan.splits, strict=True):
            if taken_row.example is None:
                raise taken_row.error or DatasetError(f"{taken_row.where}: nothing;")
            example = placed(replace(taken_row.example, split=part), places)
            files[part].write(json.dumps(plain_row(example), ensure_ascii=False) + "\n")
            if progress is not None:
                progress(1)
