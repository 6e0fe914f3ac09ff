"""Tokens of every row, measured once and kept: packs and batches of equal length are made by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from unifusion import atomic
from unifusion.errors import UniFusionError
from unifusion.training.launch import first_process_first, is_first

__all__ = ["measured_lengths"]


class _Lengths(Dataset[int]):
    """The length of each row; 1 for a row that cannot be read, which the run itself deals with."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        """Rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        """Tokens of one row."""
        try:
            return len(self.rows[index].ids)
        except UniFusionError:
            return 1


def measured_lengths(rows: Any, path: Path, *, workers: int = 0) -> list[int]:
    """Tokens of all rows; of several processes the first measures.

    Args:
        rows: map-style, of rows with `ids`.
        path: JSON file that keeps them; measured anew when the rows' names or the limit have changed.
        workers: processes that read.
    """
    mark = hashlib.sha256(json.dumps([getattr(rows, "max_tokens", 0), _names(rows)]).encode()).hexdigest()
    with first_process_first():
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["rows"] == mark:
                return list(kept["lengths"])
        loader: DataLoader[int] = DataLoader(_Lengths(rows), batch_size=None, num_workers=workers)
        found = [int(n) for n in tqdm(loader, desc="measure rows", total=len(rows), disable=None if is_first() else True)]
        atomic.write_text(path, json.dumps({"rows": mark, "lengths": found}))
    return found


def _names(rows: Any) -> Sequence[str]:
    """What the rows are called."""
    return [rows.name(i) for i in range(len(rows))]
