"""JSON lines: whole conversations with clips, or clips with fields that a task asks about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from unifusion.conversation import Example
from unifusion.datasets._rows import example_of
from unifusion.datasets._within import Within
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError
from unifusion.limits import Limits
from unifusion.rows import BOM, json_row, lines_of, too_long

__all__ = ["Messages"]


class Messages(Dataset):
    """Rows of a JSONL file, read when they are asked for: a file of millions of lines costs eight bytes a line.

    Source: your own data; what licence it has is yours to know. Layout: one file, media beside it or at absolute paths. Two rows:

        {"id": "a", "messages": [
          {"role": "user", "content": [{"type": "video", "path": "a.mp4"}, {"type": "text", "text": "What happens?"}]},
          {"role": "assistant", "content": "A dog barks."}]}
        {"id": "b", "path": "b.wav", "emotion": "joy", "group": "speaker 3"}

    The first holds its conversation; the second is asked about by a task, to which strings are texts and labels, all else labels.
    `transcript`, of a row or of a part that is a clip, is what is said in it, for streams that read text. What the second kind cannot say
    (clips of different spans, a string that is a label alone), `media` and `labels` do: `unifusion data convert` writes them.

    Args:
        path: the file.
        split: keep rows whose `split` is this, and rows that have none.
        root: folder that files must lie in, links followed; without it they may lie anywhere.

    Raises:
        DatasetError: the file cannot be read, has no rows, or a line is not as the format says (with its number).
    """

    def __init__(self, path: str | Path, *, split: str | None = None, root: str | Path | None = None) -> None:
        self.path = Path(path)
        self._place = Within(self.path.parent, root)
        starts = []
        try:
            if self.path.exists() and not self.path.is_file():
                raise DatasetError(f"cannot read {self.path}: no regular file;", remedy="give a JSONL file.")
            with self.path.open("rb") as file:
                for at, line, _ in lines_of(file, Limits.max_row_bytes):
                    if line.strip() and (split is None or self._is_of(line, split)):
                        starts.append(at)
        except OSError as error:
            raise DatasetError(f"cannot read {self.path}: {error.strerror};", remedy="give a JSONL file.") from error
        if not starts:
            raise DatasetError(f"{self.path} has no rows{f' of split {split!r}' if split else ''};", remedy="write one JSON object a line.")
        self._starts = np.asarray(starts, dtype=np.int64)

    def _is_of(self, line: bytes, split: str) -> bool:
        """Whether a line belongs to a split; one that says nothing of it belongs to all."""
        if b'"split"' not in line:
            return True
        try:
            row = json.loads(line)
        except ValueError:  # told, with its number, by who reads the row
            return True
        told = row.get("split") if isinstance(row, dict) else None
        return not isinstance(told, str) or told in ("", split)

    def __len__(self) -> int:
        """Rows."""
        return len(self._starts)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        if not 0 <= index < len(self._starts):
            raise IndexError(f"row {index} of {len(self._starts)}")
        where = f"{self.path}, row {index + 1}"
        with self.path.open("rb") as file:
            file.seek(int(self._starts[index]))
            line = file.readline(Limits.max_row_bytes + 1)
        if len(line) > Limits.max_row_bytes:
            raise too_long(where, Limits.max_row_bytes)
        line = line if self._starts[index] else line.removeprefix(BOM)
        return example_of(json_row(line, where), str(index + 1), where, lambda name: self._place(name, where))
