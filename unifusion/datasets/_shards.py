"""What img2dataset and video2dataset write: numbered tars, or folders, whose samples are a clip, a `.txt` and a `.json`."""

from __future__ import annotations

import json
import os
import re
import sys
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Media, MediaKind
from unifusion.datasets._rows import KINDS
from unifusion.datasets._tars import bytes_at, stems
from unifusion.errors import DatasetError, LayoutError

__all__ = ["Shards", "stats_of"]

_NUMBERED = re.compile(r"[0-9]{3,20}")
_STEM = re.compile(r"[A-Za-z0-9_-]{1,200}")
_WHOLE = -1
_NONE = -2
_TXT, _JSON = 2, 3


class Shards:
    """Samples in the order of their shards, found once and read when asked for; one costs some 200 bytes of memory.

    Args:
        roots: folders of `00000.tar`, `00001.tar` .., or of folders `00000`, `00001` .., or such tars; those that are not there are empty.

    Raises:
        DatasetError: a tar is broken or is of another making.
    """

    def __init__(self, *roots: Path) -> None:
        self.places: list[Path] = []
        self._stems: list[str] = []
        self._ends: list[tuple[str, ...]] = []
        self._place, self._spans = array("l"), array("q")
        for place in (place for root in roots for place in _places(root)):
            self.places.append(place)
            for stem, members in _tarred(place) if place.suffix == ".tar" else _filed(place):
                seen = next((e for e in members if KINDS.get(e) in ("video", "image")), "")
                heard = next((e for e in members if KINDS.get(e) == "audio"), "")
                self._place.append(len(self.places) - 1)
                self._stems.append(stem)
                self._ends.append((sys.intern(seen), sys.intern(heard)))
                for name in (seen, heard, "txt", "json"):
                    self._spans.extend(members.get(name, (_NONE, 0)))

    def __len__(self) -> int:
        """Samples, with and without a clip."""
        return len(self._stems)

    def place(self, index: int) -> Path:
        """The tar or folder a sample lies in."""
        return self.places[self._place[index]]

    def name(self, index: int) -> str:
        """Shard and number of a sample: `00000/000000017`."""
        return f"{self.place(index).stem}/{self._stems[index]}"

    def where(self, index: int) -> str:
        """How an error calls it."""
        return f"{self.place(index)}, sample {self._stems[index]}"

    def kinds(self, index: int) -> tuple[MediaKind, ...]:
        """What its clips are: nothing, one, or a video and its sound apart."""
        return tuple(KINDS[end] for end in self._ends[index] if end)

    def media(self, index: int) -> tuple[Media, ...]:
        """Its clips: paths, or the bytes of members of the tar. Of a video whose sound lies beside it the picture alone is shown."""
        found = []
        for column, end in enumerate(self._ends[index]):
            if end:
                offset, size = self._span(index, column)
                file = self.place(index) / f"{self._stems[index]}.{end}"
                found.append(Media(kind=KINDS[end], source=str(file) if offset == _WHOLE else bytes_at(self.place(index), offset, size)))
        return (found[0].muted("audio"), found[1]) if len(found) > 1 else tuple(found)

    def text(self, index: int) -> str | None:
        """Its `.txt`; None where there is none.

        Raises:
            DatasetError: it is no UTF-8.
        """
        raw = self._bytes(index, _TXT, "txt")
        try:
            return None if raw is None else raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.where(index)}: its .txt is no UTF-8;", remedy="download the shard again.") from error

    def has_words(self, index: int) -> bool:
        """Whether a sample has a `.txt` or a `.json`."""
        return any(self._span(index, column)[0] != _NONE for column in (_TXT, _JSON))

    def told(self, index: int) -> dict[str, Any]:
        """Its `.json`; empty where there is none.

        Raises:
            DatasetError: it is no JSON object.
        """
        raw = self._bytes(index, _JSON, "json")
        try:
            found = {} if raw is None else json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{self.where(index)}: its .json is none ({error});", remedy="download the shard again.") from error
        if not isinstance(found, dict):
            raise DatasetError(f"{self.where(index)}: its .json is a {type(found).__name__};", remedy="wanted keys and values.")
        return found

    def _span(self, index: int, column: int) -> tuple[int, int]:
        """Offset and bytes of a member."""
        at = 8 * index + 2 * column
        return self._spans[at], self._spans[at + 1]

    def _bytes(self, index: int, column: int, end: str) -> bytes | None:
        """A member's bytes."""
        offset, size = self._span(index, column)
        if offset == _NONE:
            return None
        if offset != _WHOLE:
            return bytes_at(self.place(index), offset, size)
        file = self.place(index) / f"{self._stems[index]}.{end}"
        try:
            return file.read_bytes()
        except OSError as error:
            raise DatasetError(f"{file}: {error};", remedy="download the shard again.") from error


def stats_of(place: Path) -> tuple[int, int] | None:
    """(asked for, downloaded) by the `_stats.json` beside a shard; None where there is none.

    Raises:
        DatasetError: it is none.
    """
    path = place.with_name(f"{place.stem}_stats.json")
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
        count, successes = found["count"], found["successes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{path}: {error!r};", remedy="wanted count and successes; delete it, or download the shard again.") from error
    if not (type(count) is int and type(successes) is int and 0 <= successes <= count):
        raise DatasetError(f"{path}: {successes!r} of {count!r};", remedy="wanted two numbers; delete it, or download the shard again.")
    return count, successes


def _places(root: Path) -> Iterator[Path]:
    """Numbered tars and folders; one that lies there in both forms is taken as a tar."""
    if root.is_file():
        yield root
        return
    tars = {p.stem: p for p in root.glob("*.tar") if _NUMBERED.fullmatch(p.stem)}
    folders = {p.name: p for p in root.iterdir() if p.is_dir() and _NUMBERED.fullmatch(p.name)} if root.is_dir() else {}
    yield from (path for _, path in sorted({**folders, **tars}.items()))


def _tarred(shard: Path) -> Iterator[tuple[str, Mapping[str, tuple[int, int]]]]:
    """(stem, extension -> (offset, bytes)) of a tar."""
    for written, members in stems(shard).items():
        stem = written.removeprefix("./")
        if not _STEM.fullmatch(stem):
            raise LayoutError(
                f"{shard}: a member is called {written!r};",
                remedy="wanted shards of img2dataset or video2dataset; others: reader webdataset.",
            )
        yield stem, members


def _filed(folder: Path) -> Iterator[tuple[str, Mapping[str, tuple[int, int]]]]:
    """(stem, extension -> whole file) of a folder."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, dot, end = entry.name.partition(".")
            if dot and _STEM.fullmatch(stem) and end == end.lower():
                found.setdefault(stem, {})[end] = (_WHOLE, 0)
    yield from sorted(found.items())
