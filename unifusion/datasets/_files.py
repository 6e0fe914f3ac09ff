"""Annotation files as they are published: tables, JSON and JSON lines, plain or gzipped; errors name file and line."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from unifusion.conversation import Example
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, LayoutError, nearest

__all__ = [
    "Listed", "Published", "file_of", "half", "is_pointer", "json_lines", "json_list", "json_object", "media_files", "number_of", "one_of",
    "part_of", "place_of", "prove_apart", "rows_of", "text_of", "value", "where_in",
]  # fmt: skip

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SOUND = (".wav", ".flac", ".ogg", ".mp3")
_POINTER, _POINTER_BYTES = b"version https://git-lfs", 400


class Listed(Dataset):
    """A dataset whose rows all fit in memory.

    Args:
        rows: every row, of any split.
        split: keep the rows of this split; None keeps all.
        name: how an error calls it.

    Raises:
        DatasetError: two rows have one id, a group is in two splits, or no row is left.
    """

    one_held_out: ClassVar[bool] = False
    """Val and test are parts of one held-out part and may share groups; none of them is in train."""

    def __init__(self, rows: Iterable[Example], split: str | None, name: str) -> None:
        every = list(rows)
        if twice := [i for i, n in Counter(r.id for r in every).items() if n > 1]:
            raise DatasetError(
                f"{name}: {len(twice)} rows are there twice, such as {twice[0]};", remedy="remove the second copy of the files."
            )
        prove_apart((replace(r, split="held out") if self.one_held_out and r.split != "train" else r for r in every), name)
        self.rows = [r for r in every if split in (None, r.split)]
        if not self.rows:
            splits = sorted({r.split for r in every})
            raise (DatasetError if every else LayoutError)(
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

    Tables of other parts that are there are read as well, so that no group is in two of them.

    Args:
        path: the folder.
        split: one of the parts, or None for all that are there.
    """

    title: ClassVar[str]
    tables: ClassVar[Mapping[str, str]]

    def __init__(self, path: str | Path, *, split: str | None = None) -> None:
        root = Path(path)
        there = [part for part, name in self.tables.items() if any((root / f"{name}{end}").is_file() for end in ("", ".gz"))]
        parts = there or list(self.tables)[:1]
        if split is not None and split in self.tables:
            parts = [split, *(part for part in there if part != split)]
        super().__init__((row for part in parts for row in self.read(root, part)), split, f"{self.title} in {path}")

    @classmethod
    @abstractmethod
    def read(cls, root: Path, part: str) -> Iterator[Example]:
        """Rows of one part in the order of its table."""


def file_of(root: str | Path, *names: str, where: str = "") -> Path:
    """The first of `names`, plain or with .gz, that lies in `root`; `root` itself when it is a file.

    Args:
        root: folder, or the file.
        names: in the order they are looked for.
        where: the page or DOI where the set is got, for the error.

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
    told = {Path(name).name: name for name in reversed(names)}  # each once, in the first of the folders it may lie in
    raise LayoutError(f"{path} holds none of {', '.join(reversed(told.values()))} (nor .gz of them);", remedy=_get(where))


def place_of(root: Path, folders: Sequence[str], names: Iterable[str]) -> Path:
    """The first of some folders below `root` that holds one of `names`, plain or with .gz; `root` where none does."""
    known = [f"{name}{end}" for name in names for end in ("", ".gz")]
    return next((root / folder for folder in folders if any((root / folder / name).is_file() for name in known)), root)


def _get(where: str) -> str:
    """What to do about a file that is not there."""
    return f"name the folder they were unpacked in{f'; the set is got from {where}' if where else ''}."


def text_of(path: Path) -> str:
    """A text file's content: UTF-8, or the Windows code page some of these sets mix in.

    Raises:
        DatasetError: it cannot be read, or is a pointer of git-lfs instead of the file.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: {error};", remedy="download it again.") from error
    if raw.startswith(_POINTER):
        raise DatasetError(f"{path} is a pointer of git-lfs, not the file;", remedy="run `git lfs pull` where it was cloned.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def rows_of(
    path: Path, columns: Sequence[str], *, delimiter: str = ",", header: bool = True, exact: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, row) of a table; without a header, `columns` name its fields in order.

    Args:
        path: the table.
        columns: which it must have.
        delimiter: between fields; quotes mean nothing in tables without commas.
        header: whether its first line names the columns.
        exact: refuse rows with more fields than columns, and quotes that do not close: either would shift or swallow captions.

    Raises:
        DatasetError: a column or a field is missing, with file and line.
    """
    names = None if header else list(columns)
    quoting: Any = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    text = io.StringIO(text_of(path), newline="")
    reader = csv.DictReader(text, fieldnames=names, delimiter=delimiter, quoting=quoting, strict=exact)
    try:
        lacking = [c for c in columns if c not in (reader.fieldnames or ())]
        if lacking:
            raise LayoutError(f"{path} has no column {lacking[0]!r};", remedy=f"its columns are {', '.join(reader.fieldnames or ())}.")
        for row in reader:
            if any(row[c] is None for c in columns):
                raise DatasetError(f"{path}, line {reader.line_num}: too few fields;", remedy=f"wanted {', '.join(columns)}.")
            if exact and None in row:
                raise DatasetError(f"{path}, line {reader.line_num}: too many fields;", remedy="quote texts with commas.")
            yield reader.line_num, row
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num + 1}: {error};", remedy="download it again, or mend its quotes.") from error


def json_list(path: Path) -> list[dict[str, Any]]:
    """A JSON file that holds a list of objects.

    Raises:
        DatasetError: it is no JSON, or holds something else.
    """
    found = _json(path)
    if not isinstance(found, list) or not all(isinstance(r, dict) for r in found):
        raise DatasetError(f"{path} is no list of objects;", remedy="check that it is the annotation file.")
    return found


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        DatasetError: it is no JSON, or holds something else.
    """
    found = _json(path)
    if not isinstance(found, dict):
        raise DatasetError(f"{path} is a {type(found).__name__}, no object;", remedy="check that it is the annotation file.")
    return found


def _json(path: Path) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(text_of(path))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}, line {error.lineno}: {error.msg};", remedy="download it again.") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand brackets
        raise DatasetError(f"{path} is no annotation: {error};", remedy="download it again.") from error


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
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand brackets
            raise DatasetError(f"{path}, line {number}: {error};", remedy="write one JSON object a line.") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{path}, line {number}: {type(row).__name__}, wanted an object;", remedy="write one JSON object a line.")
        yield number, row


def value(row: Mapping[str, Any], key: str, path: Path, line: int | str) -> Any:
    """`row[key]`.

    Raises:
        DatasetError: the key is missing, with file, line and the nearest key.
    """
    if key not in row:
        raise DatasetError(f"{path}, {where_in(line)}: no {key!r};", remedy=nearest(key, [str(k) for k in row]))
    return row[key]


def one_of(word: str, words: Mapping[str, str], path: Path, line: int | str) -> str:
    """What `words` maps `word` to.

    Raises:
        DatasetError: it is none of them.
    """
    if word not in words:
        raise DatasetError(f"{path}, {where_in(line)}: {word!r} is none of its labels;", remedy=nearest(word, list(words)))
    return words[word]


def number_of(word: str, path: Path, line: int | str, low: float, high: float) -> float:
    """A number between two bounds.

    Raises:
        DatasetError: it is none, or outside of them.
    """
    try:
        found = float(word)
    except ValueError:
        found = float("nan")
    if not low <= found <= high:
        raise DatasetError(f"{path}, {where_in(line)}: {word!r};", remedy=f"wanted a number from {low:g} to {high:g}.")
    return found


def where_in(line: int | str) -> str:
    """How an error calls a place in a table: the number of a line, or what else names a row, such as `entry 3`."""
    return f"line {line}" if isinstance(line, int) else line


def media_files(root: str | Path, suffixes: Sequence[str], where: str = "") -> list[Path]:
    """Files with one of `suffixes` anywhere below `root`, in order; what macOS leaves in archives (`._x`) is skipped.

    Args:
        root: folder.
        suffixes: in small letters, with the dot.
        where: the page or DOI where the set is got, for the error.

    Raises:
        DatasetError: `root` is no folder, or a file is a pointer of git-lfs.
    """
    path = Path(root)
    if not path.is_dir():
        raise LayoutError(f"{path} is no folder;", remedy=_get(where))
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("._") and p.is_file())
    if pointer := next((p for p in found if is_pointer(p)), None):
        raise DatasetError(f"{pointer} is a pointer of git-lfs, not the file;", remedy="run `git lfs pull` where it was cloned.")
    return found


def is_pointer(path: Path) -> bool:
    """Whether git-lfs left a pointer of some 130 bytes in the place of a file."""
    if not 0 < path.stat().st_size < _POINTER_BYTES:
        return False
    return path.read_bytes().startswith(_POINTER)


def prove_apart(examples: Iterable[Example], name: str = "the set") -> None:
    """Refuse examples of which two splits share a group: a speaker, a conversation or a recording.

    Args:
        examples: of all splits that are known.
        name: how the error calls them.

    Raises:
        DatasetError: names the groups and their splits.
    """
    splits: dict[str, set[str]] = {}
    for example in examples:
        if example.group:
            splits.setdefault(example.group, set()).add(example.split)
    shared = {group: sorted(found) for group, found in splits.items() if len(found) > 1}
    if shared:
        told = ", ".join(f"{group} in {' and '.join(found)}" for group, found in sorted(shared.items())[:3])
        raise DatasetError(f"{name}: {len(shared)} groups are in more than one split ({told});", remedy="split by speaker or conversation.")


def part_of(group: str, val: float = 0.1, test: float = 0.1) -> str:
    """`train`, `val` or `test`, by a hash of the group and the shares of the latter two: for sets without parts of their own."""
    at = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    return "test" if at < test else "val" if at < test + val else "train"


def half(group: str) -> str:
    """`val` or `test`, by a hash of the group: for sets that publish one held-out part only."""
    return "val" if hashlib.sha256(group.encode()).digest()[0] % 2 else "test"
