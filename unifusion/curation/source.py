"""What a person points at as named parts of rows: a file of rows, a folder of a known layout, or a mixture."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unifusion import catalog
from unifusion.conversation import Example
from unifusion.datasets.dataset import Dataset
from unifusion.datasets.folder import Folder
from unifusion.errors import ConfigError, DatasetError, LayoutError, UniFusionError

__all__ = ["Part", "Source", "Taken", "guess", "open_source", "taken"]

log = logging.getLogger(__name__)
_SUFFIXES = {
    ".jsonl": "messages", ".json": "messages", ".tar": "webdataset", ".parquet": "huggingface", ".yaml": "mixture", ".yml": "mixture",
}  # fmt: skip
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
_TOLD = 3
"""Readers whose findings an error quotes, and files that it names."""
_PACKED = (".gz", ".zst", ".xz", ".bz2", ".zip")
_NO_FOLDER = ("clip_world", "composed", "mixture", "messages", "huggingface", "webdataset", "folder", "said")
"""Readers that a folder's layout does not tell."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of one reader.

    Attributes:
        name: of a mixture's part; "rows" of a single source.
        reader: stem of the dataset's file.
        path: of the file or folder.
        rows: the dataset; None of a JSONL file that is read line by line.
        tasks: name and options of what asks about its rows; none where they hold conversations.
        options: of the reader.
    """

    name: str
    reader: str
    path: Path
    rows: Dataset | None = None
    tasks: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source's parts, and how it was understood, for people."""

    path: Path
    said: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A row that was read, or why it could not be.

    Attributes:
        part: whose it is.
        number: of the row in its part, from 1.
        example: None where it could not be read.
        error: why.
    """

    part: Part
    number: int
    example: Example | None = None
    error: UniFusionError | None = None

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.part.path}, row {self.number}"


def open_source(
    path: str | Path, *, dataset: str | None = None, split: str | None = None, task: str | None = None,
    options: Mapping[str, Any] | None = None, stream: bool = False,
) -> Source:  # fmt: skip
    """Open what a person points at.

    Args:
        path: a .jsonl (or a .json list) of messages or of a manifest, a .tar or a folder of them, a .parquet, a .yaml of a mixture, or
            the folder of a set.
        dataset: the reader; guessed from name and layout when it is not given.
        split: one part of it; None takes all.
        task: that asks about rows of a single source.
        options: of the reader.
        stream: leave JSONL files unopened, to be read line by line.

    Raises:
        ConfigError: there is no such reader or task, or the layout does not tell the reader.
        DatasetError: a file is missing or broken.
    """
    where = Path(path)
    name = dataset or guess(where)
    if name not in catalog.names("datasets"):
        raise ConfigError(f"no dataset named {name!r};", remedy=f"known: {', '.join(catalog.names('datasets'))}")
    said = f"read as {name}{'' if dataset else ' (guessed; --dataset names another)'}"
    if name == "mixture":
        return Source(path=where, said=said, parts=tuple(_of_mixture(where, split, stream)))
    tasks: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    if task:
        from unifusion.training.corpus import tasks_of

        tasks = tuple(tasks_of({"task": task}, str(path)))
    given = dict(options or {})
    rows = None if stream and name == "messages" and where.suffix.lower() != ".json" else _made(name, where, split, given)
    return Source(path=where, said=said, parts=(Part(name="rows", reader=name, path=where, rows=rows, tasks=tasks, options=given),))


def _made(name: str, path: Path, split: str | None, options: Mapping[str, Any]) -> Dataset:
    """A reader's dataset."""
    try:
        found: Dataset = catalog.load("datasets", name)(path, split=split, **options)
    except TypeError as error:
        raise ConfigError(f"{name}: {error};", remedy="see the reader's docstring for its options.") from error
    return found


def _of_mixture(path: Path, split: str | None, stream: bool) -> Iterator[Part]:
    """Parts of a mixture, each with all its rows."""
    from unifusion.datasets.mixture import Mixture, read_parts
    from unifusion.training.corpus import tasks_of

    written = {name: dict(part) for name, part in read_parts(path).items()}
    tasks = {name: tuple(tasks_of(part, f"{path}, part {name!r}")) for name, part in written.items()}
    for part in written.values():
        if split is None:
            part.pop("only", None)
    whole: Any = split  # None reads every split of a part
    mixture = Mixture(path, split=whole, written=written)
    for name, rows in mixture.parts.items():
        kind, place = mixture.kinds[name], path.parent / str(written[name].get("path", "."))
        lines = stream and kind == "messages" and place.suffix.lower() != ".json"
        options = dict(written[name].get("options") or {}) if lines else {}
        yield Part(name=name, reader=kind, path=place, rows=None if lines else rows, tasks=tasks[name], options=options)


def guess(path: Path) -> str:
    """The reader of a file by its name, or of a folder by what lies in it.

    Raises:
        ConfigError: no reader takes it, or several do.
        DatasetError: it is not there.
    """
    if not path.exists() and "*" not in path.name:
        raise DatasetError(f"{path} is not there;", remedy="name a file of rows, or the folder of a set.")
    if not path.is_dir():
        if path.name == "dataset_info.json":
            return "llamafactory"
        if path.suffix.lower() in _PACKED:
            raise ConfigError(f"{path} is compressed;", remedy="unpack it first (gunzip, unzstd, unxz, unzip).")
        if path.suffix.lower() not in _SUFFIXES:
            raise ConfigError(f"{path} does not say how it is read;", remedy="name its reader: --dataset NAME (unifusion list datasets).")
        return _SUFFIXES[path.suffix.lower()]
    fitting, broken = _fitting(path)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ConfigError(f"{path} can be read as {' or '.join(fitting)};", remedy="say which by --dataset NAME.")
    own = _tried("folder", path)
    if isinstance(own, Folder) and own.table is not None:
        return "folder"
    if broken:
        found = {error.found: name for name, error in reversed(broken)}  # what ails a shard, every reader says
        told = " ".join(f"{name}: {said}" for said, name in list(reversed(found.items()))[:_TOLD])
        raise ConfigError(f"{path} looks like a set that cannot be read: {told}", remedy="mend it, or name its reader: --dataset NAME.")
    for name in ("huggingface", "webdataset"):
        if isinstance(_tried(name, path), Dataset):
            return name
    tables = sorted(p.name for p in path.iterdir() if p.suffix.lower() in _TABLES)
    if isinstance(own, Folder) and not tables:
        return "folder"
    if tables:
        told = ", ".join(tables[:_TOLD])
        raise ConfigError(f"{path} holds tables of no known set;", remedy=f"name one of its files ({told}), or its reader: --dataset NAME.")
    raise ConfigError(f"{path} has the layout of no known set;", remedy="name its reader: --dataset NAME (unifusion list datasets).")


def _fitting(path: Path) -> tuple[list[str], list[tuple[str, DatasetError]]]:
    """Readers that find rows in a folder, of two of which one gives way the better, and what those say that find its files broken."""
    rows, broken = dict[str, Dataset](), list[tuple[str, DatasetError]]()
    for name in catalog.names("datasets"):
        found = None if name in _NO_FOLDER else _tried(name, path)
        if isinstance(found, Dataset):
            rows[name] = found
        elif isinstance(found, DatasetError) and not isinstance(found, LayoutError):
            broken.append((name, found))
    counts = {name: len(found) + int(getattr(found, "left_out", 0)) for name, found in rows.items()}
    pairs = [(name, other) for name, found in rows.items() for other in found.gives_way if other in rows]
    lesser = {name if counts[other] >= counts[name] else other for name, other in pairs}
    return [name for name in rows if name not in lesser], broken


def _tried(name: str, path: Path) -> Dataset | UniFusionError | None:
    """The rows that a reader finds in a folder, or why it cannot."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # what a reader that is tried says of missing clips is about another set
    try:
        found: Dataset = catalog.load("datasets", name)(path, split=None)
        return found if len(found) else None
    except UniFusionError as error:
        return error
    except (OSError, TypeError):  # a reader that wants more than a path
        return None
    finally:
        logging.disable(before)


def taken(source: Source) -> Iterator[Taken]:
    """Every row of every part once, in order; a row that cannot be read has its error."""
    for part in source.parts:
        rows = part.rows if part.rows is not None else _made(part.reader, part.path, None, part.options)
        for index in range(len(rows)):
            try:
                yield Taken(part=part, number=index + 1, example=rows[index])
            except UniFusionError as error:
                yield Taken(part=part, number=index + 1, error=error)
