"""Where the rows of a file of JSON lie, so that each is read when it is asked for: lines, or one list of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.errors import DatasetError
from unifusion.limits import Limits
from unifusion.rows import BOM, json_row, lines_of, too_long

__all__ = ["Spans", "kept_spans", "listed"]

_SPACE = re.compile(r"[ \t\n\r]*")


class Spans:
    """Rows of a file by their place: 16 bytes of memory each, whatever they hold.

    Args:
        path: the file; it must stay as it is.
        places: (start, bytes) of each row.
    """

    def __init__(self, path: Path, places: list[tuple[int, int]]) -> None:
        self.path = path
        self._places = np.asarray(places, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        """Rows."""
        return len(self._places)

    def read(self, index: int) -> bytes:
        """The JSON of one row.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        start, length = (int(n) for n in self._places[index])
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)

    def row(self, index: int, where: str) -> dict[str, Any]:
        """The object of one row.

        Args:
            index: of the row.
            where: how errors call it.

        Raises:
            IndexError: there is no such row.
            DatasetError: it is too long, or no JSON object.
        """
        line = self.read(index)
        if len(line) > Limits.max_row_bytes:
            raise too_long(where, Limits.max_row_bytes)
        return json_row(line if index else line.removeprefix(BOM), where)


def kept_spans(path: Path, keep: Callable[[bytes], bool] | None = None) -> Spans:
    """Rows of a file, all or those that `keep` takes, and of a line that is too long its beginning.

    `.json` whose first character is [ is one list, everything else has a row a line.

    Raises:
        DatasetError: the file cannot be read, or its list is broken.
    """
    try:
        if path.exists() and not path.is_file():
            raise DatasetError(f"cannot read {path}: no regular file;", remedy="give a file of JSON, a row a line or one list.")
        with path.open("rb") as file:
            if path.suffix == ".json" and file.read(64).removeprefix(BOM).lstrip()[:1] == b"[":
                rows = ((at, length) for at, length, row in listed(path) if keep is None or keep(json.dumps(row).encode()))
                return Spans(path, list(rows))
            file.seek(0)
            lines = lines_of(file, Limits.max_row_bytes)
            return Spans(path, [(at, len(line)) for at, line, _ in lines if line.strip() and (keep is None or keep(line))])
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror};", remedy="give a file of JSON, a row a line or one list.") from error


def listed(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(start, bytes, object) of each object of a file that is one list. The text is held while it is gone through, the objects are not.

    Raises:
        DatasetError: the file cannot be read, is no list of objects, or ends too early; names the row.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error};", remedy="wanted JSON in UTF-8; download it again.") from error
    at, start, number = _after(text, 0), len(BOM) if raw.startswith(BOM) else 0, 0
    decoder, begin = json.JSONDecoder(), 0
    if text[at : at + 1] != "[":
        raise DatasetError(f"{path} is no list of objects;", remedy="check that it is the annotation file.")
    mark = "["
    while mark != "]":
        at = _after(text, at + 1)
        if number == 0 and text[at : at + 1] == "]":
            return
        number += 1
        try:
            row, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}, row {number}: {error};", remedy="download it again, or mend it.") from error
        if not isinstance(row, dict):
            raise DatasetError(
                f"{path}, row {number}: {type(row).__name__}, wanted an object;", remedy="check that it is the annotation file."
            )
        start, length = start + len(text[begin:at].encode()), len(text[at:end].encode())
        yield start, length, row
        start, begin, at = start + length, end, _after(text, end)
        mark = text[at : at + 1]
        if mark not in ("]", ",") or not mark:
            raise DatasetError(f"{path}: its list ends behind row {number};", remedy="download it again.")


def _after(text: str, at: int) -> int:
    """The first character from `at` on that is no space."""
    found = _SPACE.match(text, at)
    return found.end() if found else at
