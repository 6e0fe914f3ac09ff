"""Annotation files as they are published: tables, JSON and JSON lines, plain or gzipped; errors name file and line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tarfile
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from unifusion.conversation import Example
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, nearest

__all__ = [
    "Listed", "Published", "Shelf", "file_of", "half", "json_lines", "json_list", "media_files", "one_of", "rows_of", "text_of", "value",
]  # fmt: skip

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SOUND = (".wav", ".flac", ".ogg", ".mp3")


class Listed(Dataset):
    """A dataset whose rows all fit in memory.

    Args:
        rows: every row, of any split.
        split: keep the rows of this split; None keeps all.
        name: how an error calls it.
    """

    def __init__(self, rows: Iterable[Example], split: str | None, name: str) -> None:
        every = list(rows)
        if twice := [i for i, n in Counter(r.id for r in every).items() if n > 1]:
            raise DatasetError(
                f"{name}: {len(twice)} rows are there twice, such as {twice[0]};", remedy="remove the second copy of the files."
            )
        self.rows = [r for r in every if split in (None, r.split)]
        if not self.rows:
            splits = sorted({r.split for r in every})
            raise DatasetError(
                f"{name} has no rows of split {split!r};" if every else f"{name} holds no rows;",
                remedy=nearest(str(split), splits) if every else "check the folder: the reader's docstring shows its layout.",
            )

    def __len__(self) -> int:
        """Rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        if not 0 <= index < len(self.rows):
            raise IndexError(f"row {index} of {len(self.rows)}")
        return self.rows[index]


class Published(Listed):
    """A set with one table a part. A subclass says how it is called, which tables there are, and reads one.

    Args:
        path: the folder.
        split: one of the parts, or None for all that are there.
    """

    title: ClassVar[str]
    tables: ClassVar[Mapping[str, str]]

    def __init__(self, path: str | Path, *, split: str | None = None) -> None:
        root = Path(path)
        there = [part for part, name in self.tables.items() if any((root / f"{name}{end}").is_file() for end in ("", ".gz"))]
        parts = [split] if split is not None and split in self.tables else there or list(self.tables)[:1]
        super().__init__((row for part in parts for row in self.read(root, part)), split, f"{self.title} in {path}")

    @classmethod
    @abstractmethod
    def read(cls, root: Path, part: str) -> Iterator[Example]:
        """Rows of one part in the order of its table."""


class Shelf:
    """Files in a folder and inside its tars (webdataset shards), read by name; a tar's members are found once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._members: dict[str, tuple[Path, int, int]] = {}
        for path in sorted(folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                self._members.update({m.name: (path, m.offset_data, m.size) for m in tar if m.isfile()})

    def names(self) -> list[str]:
        """Members of the tars, in order."""
        return list(self._members)

    def source(self, name: str) -> str | bytes | None:
        """A path, the bytes of a member of a tar, or None where there is neither."""
        if (self.folder / name).is_file():
            return str(self.folder / name)
        if name not in self._members:
            return None
        path, offset, size = self._members[name]
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def file_of(root: str | Path, *names: str) -> Path:
    """The first of `names`, plain or with .gz, that lies in `root`; `root` itself when it is a file.

    Raises:
        DatasetError: none of them is there.
    """
    path = Path(root)
    if path.is_file():
        return path
    for name in names:
        for candidate in (path / name, path / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise DatasetError(f"{path} holds none of {', '.join(names)} (nor .gz of them);", remedy="name the folder they were unpacked in.")


def text_of(path: Path) -> str:
    """A text file's content: UTF-8, or the Windows code page some of these sets mix in.

    Raises:
        DatasetError: it cannot be read, or is a pointer of git-lfs instead of the file.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path}: {error};", remedy="download it again.") from error
    if raw.startswith(b"version https://git-lfs"):
        raise DatasetError(f"{path} is a pointer of git-lfs, not the file;", remedy="run `git lfs pull` where it was cloned.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def rows_of(path: Path, columns: Sequence[str], *, delimiter: str = ",", header: bool = True) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a table; without a header, `columns` name its fields in order.

    Raises:
        DatasetError: a column or a field is missing, with file and line.
    """
    names = None if header else list(columns)
    quoting: Any = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    reader = csv.DictReader(io.StringIO(text_of(path), newline=""), fieldnames=names, delimiter=delimiter, quoting=quoting)
    lacking = [c for c in columns if c not in (reader.fieldnames or ())]
    if lacking:
        raise DatasetError(f"{path} has no column {lacking[0]!r};", remedy=f"its columns are {', '.join(reader.fieldnames or ())}.")
    for row in reader:
        if any(row[c] is None for c in columns):
            raise DatasetError(f"{path}, line {reader.line_num}: too few fields;", remedy=f"wanted {', '.join(columns)}.")
        yield reader.line_num, row


def json_list(path: Path) -> list[dict[str, Any]]:
    """A JSON file that holds a list of objects.

    Raises:
        DatasetError: it is no JSON, or holds something else.
    """
    try:
        found = json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}, line {error.lineno}: {error.msg};", remedy="download it again.") from error
    if not isinstance(found, list) or not all(isinstance(r, dict) for r in found):
        raise DatasetError(f"{path} is no list of objects;", remedy="check that it is the annotation file.")
    return found


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of a file with one JSON object a line; empty lines are skipped.

    Raises:
        DatasetError: a line is no JSON object.
    """
    for number, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{path}, line {number}: {error.msg};", remedy="write one JSON object a line.") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{path}, line {number}: {type(row).__name__}, wanted an object;", remedy="write one JSON object a line.")
        yield number, row


def value(row: Mapping[str, Any], key: str, path: Path, line: int | str) -> Any:
    """`row[key]`.

    Raises:
        DatasetError: the key is missing, with file, line and the nearest key.
    """
    if key not in row:
        raise DatasetError(f"{path}, line {line}: no {key!r};", remedy=nearest(key, [str(k) for k in row]))
    return row[key]


def one_of(word: str, words: Mapping[str, str], path: Path, line: int | str) -> str:
    """What `words` maps `word` to.

    Raises:
        DatasetError: it is none of them.
    """
    if word not in words:
        raise DatasetError(f"{path}, line {line}: {word!r} is none of its labels;", remedy=nearest(word, list(words)))
    return words[word]


def media_files(root: str | Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with one of `suffixes` anywhere below `root`, in order; what macOS leaves in archives (`._x`) is skipped.

    Raises:
        DatasetError: `root` is no folder.
    """
    path = Path(root)
    if not path.is_dir():
        raise DatasetError(f"{path} is no folder;", remedy="name the folder the set was unpacked in.")
    return sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("._"))


def half(group: str) -> str:
    """`val` or `test`, by a hash of the group: for sets that publish one held-out part only."""
    return "val" if hashlib.sha256(group.encode()).digest()[0] % 2 else "test"
