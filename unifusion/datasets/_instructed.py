"""Sets of conversations about pictures and videos that were published as one JSON list; the clips lie where they were downloaded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from unifusion.conversation import Example, Media
from unifusion.datasets._captioned import tell_missing
from unifusion.datasets._files import file_of, media_files, part_of
from unifusion.datasets._rows import example_of
from unifusion.datasets._spans import Spans, listed
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, nearest
from unifusion.rows import PART_KINDS, json_row

__all__ = ["Instructed", "by_stem", "exchange", "inner_path"]

_VIDEO = (".mp4", ".mkv", ".webm", ".avi", ".mov")


class Instructed(Dataset):
    """Conversations of a published list, each read when it is asked for. A subclass says how a row is spelled and where its clips lie.

    `labels["messages"]` is the conversation. A row whose clip was not downloaded has no media; its conversation names the file where it
    would lie, so that nobody trains on an answer about what is not shown. Of one question and one answer, `texts` has both.

    Args:
        path: the JSON file, or a folder that holds it under a published name.
        split: train, val, or None for both: the sets are published as train alone.
        media: folder of the clips; that of the JSON file when it is not given.
        val: share of the clips, by a hash of their names, whose rows are val.
        only_downloaded: leave out rows whose clip is not there.

    Attributes:
        missing: rows whose clip is not there.

    Raises:
        DatasetError: there is no such file, it is no list, a row is not as published, or none is left.
    """

    title: ClassVar[str]
    page: ClassVar[str]
    tables: ClassVar[tuple[str, ...]]

    def __init__(
        self, path: str | Path, *, split: str | None = None, media: str | Path | None = None, val: float = 0.0,
        only_downloaded: bool = False,
    ) -> None:  # fmt: skip
        self.file = file_of(path, *self.tables, where=self.page)
        if self.file.suffix == ".gz":
            raise DatasetError(f"{self.file} is packed;", remedy="unpack it (gunzip): its rows are read where they lie.")
        self.name, self.val = f"{self.title} in {path}", val
        self.root = Path(media) if media is not None else self.file.parent
        if not self.root.is_dir():
            raise DatasetError(f"{self.root} is no folder;", remedy="name the folder that the clips were unpacked in.")
        self.look(self.root)
        self._numbers, self.missing = self._scan(split, only_downloaded)
        self._rows = Spans(self.file, self._places)
        if not self._numbers:
            raise DatasetError(f"{self.name} has no rows of split {split!r};", remedy=nearest(str(split), ["train", "val"]))

    def _scan(self, split: str | None, only_downloaded: bool) -> tuple[list[int], int]:
        """Numbers of the rows that are kept, and how many of them lack their clip."""
        numbers, missing = list[int](), 0
        self._places: list[tuple[int, int]] = []
        for number, (start, length, raw) in enumerate(listed(self.file), 1):
            where = f"{self.file}, row {number}"
            if split not in (None, part_of(self.group(raw, where), self.val, 0.0)):
                continue
            whole = all(Path(place).is_file() for place in self.clips(raw, where))
            if whole or not only_downloaded:
                numbers.append(number)
                self._places.append((start, length))
                missing += not whole
        return numbers, tell_missing(missing, len(numbers), self.name)

    def look(self, root: Path) -> None:
        """Find what was downloaded, where its names must be known."""

    @abstractmethod
    def row(self, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
        """A row with its conversation in a spelling of `_spellings`, and nothing else that names files."""

    @abstractmethod
    def clips(self, raw: Mapping[str, Any], where: str) -> list[str]:
        """Where the clips of a row lie, or would, in the order of their marks; none for a row of text."""

    def pictures(self, raw: Mapping[str, Any], where: str) -> list[str]:
        """Names of a row's pictures: `image` is none, one, or a list."""
        names = raw.get("image")
        return [inner_path(name, where) for name in (names if isinstance(names, list) else [] if names is None else [names])]

    def span(self, raw: Mapping[str, Any], where: str) -> tuple[float, float] | None:
        """Seconds of the row's video; None where all of it is meant."""
        del raw, where
        return None

    @abstractmethod
    def group(self, raw: Mapping[str, Any], where: str) -> str:
        """The picture or source video of a row."""

    def __len__(self) -> int:
        """Rows."""
        return len(self._numbers)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`.

        Raises:
            DatasetError: it is not as published, such as marks without a file; names file and row.
        """
        where = f"{self.file}, row {self._numbers[index] if 0 <= index < len(self) else index}"
        raw = json_row(self._rows.read(index), where)
        example = example_of(self.row(raw, where), "", where, str, bare_marks=True)
        messages = example.labels["messages"]
        shown = [p for m in messages if isinstance(m["content"], list) for p in m["content"] if p["type"] in PART_KINDS]
        there = all(Path(part["path"]).is_file() for part in shown)
        start_s, end_s = self.span(raw, where) or (None, None)
        if end_s is not None:
            for part in shown:
                part.update(start_s=start_s, end_s=end_s)
        group = self.group(raw, where)
        return replace(
            example, id=f"{type(self).__module__.rpartition('.')[2]}/{self._numbers[index]}", group=group,
            split=part_of(group, self.val, 0.0),
            media=tuple(Media(kind=PART_KINDS[p["type"]], source=p["path"], start_s=start_s, end_s=end_s) for p in shown) if there else (),
            texts={**example.texts, **exchange(messages)},
        )  # fmt: skip


def exchange(messages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """`question` and `answer` of a conversation of one question and one answer; nothing of a longer one."""
    said = [m for m in messages if m["role"] != "system"]
    if [m["role"] for m in said] != ["user", "assistant"]:
        return {}
    texts = [m["content"] if isinstance(m["content"], str) else "".join(p.get("text", "") for p in m["content"]) for m in said]
    return dict(zip(("question", "answer"), texts, strict=True))


def inner_path(name: Any, where: str) -> str:
    """A file's name with its folders, below the folder it is looked for in.

    Raises:
        DatasetError: it is none, or leads out of it.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts if isinstance(name, str) and name and name.isprintable() else ("..",)
    if ".." in parts or parts[0] == "/":
        raise DatasetError(f"{where}: {name!r} is no name of a file;", remedy="wanted one below the folder of the clips.")
    return "/".join(parts)


def by_stem(root: Path, suffixes: Sequence[str] = _VIDEO) -> dict[str, Path]:
    """Videos, or other files, anywhere below a folder by their names without the end; of two with one name the first."""
    found: dict[str, Path] = {}
    for path in media_files(root, suffixes):
        found.setdefault(path.stem, path)
    return found
