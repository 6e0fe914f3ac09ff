"""Sets of clips with captions, of which often only a part can still be downloaded: where clips are, what is missing, what leaks."""

from __future__ import annotations

import logging
import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from unifusion.conversation import Example, Media, MediaKind
from unifusion.datasets._files import Listed, media_files, where_in
from unifusion.datasets._rows import kind_of_name
from unifusion.datasets._shards import Shards
from unifusion.errors import DatasetError, LayoutError

__all__ = [
    "IMAGE", "LONGEST_NAME", "VIDEO", "Captioned", "Downloads", "captions_of", "cut_names", "file_name", "parts_there", "tell_missing",
    "whole_number", "without_leaks", "youtube_id",
]  # fmt: skip

VIDEO = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv")
IMAGE = (".jpg", ".jpeg", ".png")
_YOUTUBE = re.compile(r"[A-Za-z0-9_-]{11}")
_WATCHED = re.compile(r"(?:youtu\.be/|youtube\.com/(?:watch\?(?:[^#]*&)?v=|shorts/|embed/))([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")
_RANK = {"train": 0, "val": 1, "test": 2}
_MOST = 1e6
LONGEST_NAME = 240
"""Bytes of a file's name without its end; file systems allow 255."""

log = logging.getLogger(__name__)


class Downloads:
    """Clips that were downloaded: files by their names, and samples of video2dataset by what their `.json` says they were cut from.

    Args:
        root: folder; files may lie anywhere below it, shards in it or in a folder `shards`. None has nothing.
        suffixes: of files, those that are preferred first.
        kind: what each is taken as; None goes by the name.
        files: those below `root`, where they are known.

    Raises:
        DatasetError: two files have one name, one is a pointer of git-lfs, or a shard is broken.
    """

    def __init__(
        self, root: Path | None, suffixes: Sequence[str], kind: MediaKind | None = None, files: Sequence[Path] | None = None
    ) -> None:  # fmt: skip
        self._kind = kind
        self._files: dict[str, Path] = {}
        self._shards = Shards()
        self._samples: dict[tuple[str, float | None], int] = {}
        self.held: dict[str, int] = {}
        """Row -> the sample whose bytes it is given when it is asked for."""
        if root is None:
            return
        self._shards = Shards(root, root / "shards")
        for index in range(len(self._shards)):
            if self._shards.kinds(index):
                self._samples.setdefault(_source_of(self._shards, index), index)
        numbered = set(self._shards.places)
        for path in media_files(root, suffixes) if files is None else files:
            if path.parent not in numbered:
                self._add(path, suffixes)

    def _add(self, path: Path, suffixes: Sequence[str]) -> None:
        """A file under its name, unless one of a preferred kind is known."""
        name = path.stem
        if Path(name).suffix.lower() in suffixes:  # yt-dlp merges `-o id.mp4` into id.mp4.webm
            name = Path(name).stem
        known = self._files.setdefault(name, path)
        rank, other = suffixes.index(path.suffix.lower()), suffixes.index(known.suffix.lower())
        if rank == other and known != path:
            raise DatasetError(f"{known} and {path} have one name;", remedy="keep one of them below the folder.")
        if rank < other:
            self._files[name] = path

    def names(self) -> Iterable[str]:
        """Names of the files, without their ends."""
        return self._files.keys()

    def find(
        self, row: str, *, cut: Iterable[str] = (), whole: Sequence[str] = (), source: str = "", span: tuple[float, float] | None = None
    ) -> tuple[Media, ...]:  # fmt: skip
        """The clip of a row, or nothing.

        Args:
            row: its id.
            cut: names that a file of the clip alone may have.
            whole: names that a file of the recording may have; of it the span is taken.
            source: YouTube id or address that it was downloaded from.
            span: seconds of the recording.
        """
        start = None if span is None else span[0]
        for names, key, part in ((cut, (source, start), None), (whole, (source, None), span)):
            start_s, end_s = part or (None, None)
            file = next((self._files[name] for name in names if name in self._files), None) if self._files else None
            if file is not None:
                return (Media(kind=self._kind or kind_of_name(file.name, row), source=str(file), start_s=start_s, end_s=end_s),)
            if source and key in self._samples:
                self.held[row] = self._samples[key]
                kinds = self._shards.kinds(self._samples[key])
                taken = kinds if self._kind is None else (self._kind,)
                return tuple(Media(kind=kind, source=b"", start_s=start_s, end_s=end_s) for kind in taken)
        return ()

    def read(self, row: str, media: tuple[Media, ...]) -> tuple[Media, ...]:
        """What `find` gave for a row, with the bytes of clips that lie in a shard."""
        if row not in self.held:
            return media
        clips = self._shards.media(self.held[row])
        if self._kind is not None:
            clips = clips[-1:]  # the sound that lies apart, else that of the video
        return tuple(replace(m, source=clip.source, mute=clip.mute) for m, clip in zip(media, clips, strict=True))


class Captioned(Listed):
    """Clips with captions; a row whose clip was not downloaded has no media, and how many there are is told in the log.

    A subclass says how the set is called and where it is got, looks for its clips and reads its rows. `missing` is the number of
    rows without a clip, `left_out` that of rows of train whose recording is held out.

    Args:
        path: the folder.
        split: one of the parts, or None for all that are there.
        only_downloaded: leave out rows without a clip.
        as_published: keep rows of train whose recording is held out as well; then a group is a row.

    Raises:
        DatasetError: a table is missing or broken, or nothing is left.
    """

    title: ClassVar[str]
    page: ClassVar[str]
    commands: ClassVar[str] = "docs/retrieval_sets.md"
    """The page that says how its clips are got."""
    published_leaks: ClassVar[bool] = False
    """Its published parts share recordings, of which the rows in train are left out; elsewhere that is an error."""

    def __init__(
        self, path: str | Path, *, split: str | None = None, only_downloaded: bool = False, as_published: bool = False
    ) -> None:  # fmt: skip
        root, name = Path(path), f"{self.title} in {path}"
        if not root.exists():
            raise LayoutError(f"{path} is no folder;", remedy=f"name the folder it was unpacked in; the set is got from {self.page}.")
        self.downloads = self.look(root if root.is_dir() else None)
        rows, self.left_out = list(self.read(root, split)), 0
        if as_published:
            rows = [replace(row, group=self.apart(row)) for row in rows]
        elif self.published_leaks:
            rows, self.left_out = without_leaks(rows)
        super().__init__(rows, split, name)
        if self.left_out:
            log.warning("%s: %d rows are left out: held-out ones are of the same recordings (as_published keeps them)", name, self.left_out)
        self.missing = self.tell(name)
        if only_downloaded:
            self.rows = [row for row in self.rows if self.whole(row)]
        if not self.rows:
            raise DatasetError(f"{name}: none of its clips is there;", remedy=f"download them: {self.commands} has the commands.")

    @abstractmethod
    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Rows of all parts that are there; of `split` at least."""

    def look(self, root: Path | None) -> Downloads:
        """The clips that were downloaded; None where the path is a table alone."""
        return Downloads(root, VIDEO)

    def whole(self, row: Example) -> bool:
        """Whether all clips of a row were downloaded."""
        return bool(row.media)

    def apart(self, row: Example) -> str:
        """The group of a row where parts that share recordings are read as published."""
        return row.id

    def tell(self, name: str) -> int:
        """Say in the log how many rows have no clip, and return it."""
        return tell_missing(sum(not self.whole(row) for row in self.rows), len(self.rows), name)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; what lies in a shard is read."""
        row = super().__getitem__(index)
        return replace(row, media=self.downloads.read(row.id, row.media)) if row.id in self.downloads.held else row


def parts_there(root: Path, tables: Mapping[str, str], split: str | None) -> list[str]:
    """Parts whose tables lie in a folder, plain or with .gz, and the one asked for; the first where none does."""
    there = [part for part, name in tables.items() if any((root / f"{name}{end}").is_file() for end in ("", ".gz"))]
    return list(dict.fromkeys([split, *there])) if split is not None and split in tables else there or list(tables)[:1]


def without_leaks(rows: Sequence[Example]) -> tuple[list[Example], int]:
    """Rows of which no group is in two splits, and how many were left out: a group stays in test, else in val, else in train."""
    highest: dict[str, int] = {}
    for row in rows:
        highest[row.group] = max(highest.get(row.group, 0), _RANK[row.split])
    kept = [row for row in rows if not row.group or _RANK[row.split] == highest[row.group]]
    return kept, len(rows) - len(kept)


def tell_missing(missing: int, total: int, name: str) -> int:
    """Say in the log how many of the clips are missing, and return it."""
    if missing:
        log.warning("%s: %d of %d clips are not there; their rows have no media (only_downloaded leaves them out)", name, missing, total)
    return missing


def captions_of(told: Sequence[str], path: Path, line: int | str) -> dict[str, Any]:
    """`texts` and `labels` of a row with captions.

    Raises:
        DatasetError: one of them says nothing.
    """
    captions = tuple(text.strip() for text in told)
    if not captions or not all(captions):
        raise DatasetError(f"{path}, {where_in(line)}: a caption is empty;", remedy="download it again.")
    return {"texts": {"caption": captions[0]}, "labels": {"captions": captions}}


def youtube_id(word: str, path: Path, line: int | str) -> str:
    """A YouTube id.

    Raises:
        DatasetError: it is none, as after a spreadsheet has taken `-1E5..` for a number, or is a path.
    """
    if not _YOUTUBE.fullmatch(word):
        raise DatasetError(f"{path}, {where_in(line)}: {word!r};", remedy="wanted a YouTube id, 11 letters, digits, - and _.")
    return word


def cut_names(name: str, start_s: float, end_s: float) -> Iterator[str]:
    """Names, without their ends, that downloaders give to a file of a span alone: the start, or start and end, each in several forms."""
    for form in ("{:06.0f}", "{:g}", "{:.1f}", "{:.3f}"):
        start, end = form.format(start_s), form.format(end_s)
        yield from (f"{name}_{start}", f"{name}_{start}_{end}", f"{name}_{start}-{end}")
    yield f"{name}_{1000 * start_s:.0f}_{1000 * end_s:.0f}"


def file_name(word: str, path: Path, line: int | str) -> str:
    """A file's name without folders.

    Raises:
        DatasetError: it has some, is none, or is longer than file systems allow.
    """
    if not word or word in (".", "..") or any(c in "/\\" or not c.isprintable() for c in word) or len(word.encode()) > LONGEST_NAME:
        raise DatasetError(f"{path}, {where_in(line)}: {word[:80]!r};", remedy="wanted the name of a file, without folders.")
    return word


def whole_number(word: str, path: Path, line: int | str) -> int:
    """A whole number from 0 on.

    Raises:
        DatasetError: it is none.
    """
    if not (word.isascii() and word.isdigit() and len(word) < 10) or int(word) > _MOST:  # int() of 4,301 digits is an error of its own
        raise DatasetError(f"{path}, {where_in(line)}: {word!r};", remedy=f"wanted a whole number from 0 to {_MOST:g}.")
    return int(word)


def _source_of(shards: Shards, index: int) -> tuple[str, float | None]:
    """What a sample was downloaded from, as YouTube id or address, and where it was cut out; None for the whole of it."""
    told = shards.told(index)
    url = told.get("url")
    if not isinstance(url, str):
        raise LayoutError(f"{shards.where(index)}: its .json has no url;", remedy="wanted a shard of video2dataset.")
    watched = _WATCHED.search(url)
    source = watched[1] if watched else url
    if "_" not in shards.name(index):  # the clipping of video2dataset adds the clip's number: 000000017_00000
        return source, None
    clips = told.get("clips")
    if not (isinstance(clips, list) and len(clips) == 1 and isinstance(clips[0], list) and len(clips[0]) == 2):
        raise DatasetError(f"{shards.where(index)}: clips is {clips!r};", remedy="wanted the span it was cut from: [[30.0, 40.0]].")
    return source, _seconds(clips[0][0], shards.where(index))


def _seconds(value: Any, where: str) -> float:
    """Seconds, or `00:00:30.000`."""
    try:
        parts = [float(p) for p in value.split(":")] if isinstance(value, str) else [float(value)]
    except (TypeError, ValueError, OverflowError):
        parts = []
    if not 0 < len(parts) <= 3 or not all(math.isfinite(p) and p >= 0 for p in parts):
        raise DatasetError(f"{where}: a clip begins at {value!r};", remedy="wanted seconds, or HH:MM:SS.mmm.")
    return sum(p * (1.0, 60.0, 3600.0)[n] for n, p in enumerate(reversed(parts)))
