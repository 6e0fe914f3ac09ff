"""Tables as parquet, as CSV, or as the first sheet of an .xlsx file: of the latter only what annotations use, no formulas and no styles."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from unifusion.datasets._files import rows_of
from unifusion.errors import DatasetError

__all__ = ["parquet_rows", "sheet_rows"]

_CELL = re.compile(r"^([A-Z]{1,3})\d+$")
_MOST_BYTES = 200_000_000
"""Of a sheet when unpacked; DFEW's, with 16,372 rows of nine cells, has some 10 MB."""


def sheet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a table that has a line of column names; empty lines are skipped.

    Raises:
        DatasetError: the file is broken or lacks a column, with file and line.
    """
    if path.suffix.lower() != ".xlsx":
        yield from rows_of(path, columns)
        return
    lines = [(number, cells) for number, cells in _lines(path) if any(cells.values())]
    if not lines:
        raise DatasetError(f"{path} is empty;", remedy="download it again.")
    names = {letter: name.strip() for letter, name in lines[0][1].items()}
    lacking = [c for c in columns if c not in names.values()]
    if lacking:
        raise DatasetError(f"{path} has no column {lacking[0]!r};", remedy=f"its columns are {', '.join(names.values())}.")
    for number, cells in lines[1:]:
        yield number, {name: cells.get(letter, "") for letter, name in names.items()}


def parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`row 0` .., values by column) of a parquet file.

    Raises:
        DatasetError: it is none, or pyarrow is missing.
    """
    try:
        import pyarrow  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError("the library pyarrow is missing;", remedy="pip install 'unifusion-x[data]'.") from error
    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: {error};", remedy="download it again.") from error
    yield from ((f"row {number}", row) for number, row in enumerate(table.to_pylist()))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(number, column's letters -> text) of the first sheet."""
    try:
        with zipfile.ZipFile(path) as book:
            shared = _shared(book) if "xl/sharedStrings.xml" in book.namelist() else []
            sheets = sorted(n for n in book.namelist() if re.match(r"xl/worksheets/sheet\d+\.xml$", n))
            root = _parsed(book, sheets[0])
        for number, row in enumerate(root.iterfind(".//{*}row"), 1):
            cells = {}
            for cell in row.iterfind("{*}c"):
                at = _CELL.match(cell.get("r", ""))
                if at is not None:
                    cells[at[1]] = _text(cell, shared)
            yield int(row.get("r", number)), cells
    except (zipfile.BadZipFile, ElementTree.ParseError, OSError, KeyError, IndexError, ValueError) as error:
        raise DatasetError(f"{path} is no readable .xlsx: {error};", remedy="save it as CSV under the same name.") from error


def _parsed(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    """One part of the file; a part that says it would unpack into more than a table ever has is refused."""
    if book.getinfo(name).file_size > _MOST_BYTES:
        raise ValueError(f"{name} unpacks into {book.getinfo(name).file_size} bytes")
    return ElementTree.fromstring(book.read(name))


def _shared(book: zipfile.ZipFile) -> list[str]:
    """The texts that cells refer to by number."""
    return ["".join(t.text or "" for t in item.iterfind(".//{*}t")) for item in _parsed(book, "xl/sharedStrings.xml").iterfind("{*}si")]


def _text(cell: ElementTree.Element, shared: Sequence[str]) -> str:
    """What a cell shows; whole numbers without a point."""
    if cell.get("t") == "inlineStr":
        return "".join(t.text or "" for t in cell.iterfind(".//{*}t"))
    raw = cell.findtext("{*}v", "")
    if cell.get("t") == "s":
        return shared[int(raw)]
    return raw.removesuffix(".0")
