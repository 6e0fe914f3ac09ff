"""HowTo100M: what is said in a million instructional videos, line by line with its times."""

from __future__ import annotations

import codecs
import json
import mmap
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from unifusion.conversation import Example
from unifusion.datasets._captioned import VIDEO, Downloads, log, tell_missing, whole_number, youtube_id
from unifusion.datasets._files import file_of, rows_of
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, LayoutError, nearest

__all__ = ["HowTo100M"]

_PAGE = "di.ens.fr/willow/research/howto100m"
_WINDOW, _MOST = 1 << 16, 1 << 26
"""Bytes looked at for one video at first and at most; 110 lines, as a video has, are some 8,000."""
_LONGEST_S = 1e7
_FORMS = ("caption.json", "raw_caption.json", "howto100m_captions")
_LINE = '"<id>": {"start": [..], "end": [..], "text": [..]}'


class _Line(NamedTuple):
    """A caption: its number among all of its video, from and to in seconds, words."""

    number: int
    start_s: float
    end_s: float
    text: str


class HowTo100M(Dataset):
    """HowTo100M, one row a line of speech with its span in the video; lines are read from the file when they are asked for.

    Source: Miech et al., 2019, di.ens.fr/willow/research/howto100m. Licence: for research, the videos and what is said in them are
    their owners'. Layout on disk: `caption.json` (of HowTo100M.zip) or `raw_caption.json`, whose lines overlap, or a folder
    `howto100m_captions` with a `<video_id>.csv` (columns start, end, text) for each video; `HowTo100M_v1.csv` with the categories where it
    is there; videos anywhere below, called `<video_id>.mp4|webm|mkv`, or what video2dataset wrote, in the folder or in `shards`. A row
    whose video is not there has no media. One raw row of the first and of the last:

        "nVbIUDjzWY4": {"start": [0.0, 8.87], "end": [8.37, 11.9], "text": ["hey guys so in this video", "take the ..", ..]}
        nVbIUDjzWY4,Cars & Other Vehicles,Motorcycles,27,52907

    What is said need not be what is seen: the caption ties a line to its own span only. The group is the video; the set has train only.
    Lines without words or that end before they begin are left out and counted in `left_out`; `missing` counts rows without a video (none
    with `only_downloaded`). `labels` has `category_1`, `category_2`, `rank`, `task_id`, `start_s`, `end_s`. A video that the table lists
    twice keeps its first line.

    Args:
        path: the folder.
        split: train or None.
        captions: which of the three forms; None takes the first that is there, in the order above.
        only_downloaded: leave out videos that are not there, whose captions are then not read.

    Raises:
        DatasetError: no captions, a broken entry (with file and video), or nothing is left.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, captions: str | None = None, only_downloaded: bool = False
    ) -> None:  # fmt: skip
        root, name = Path(path), f"HowTo100M in {path}"
        if split not in (None, "train"):
            raise DatasetError(f"{name} has no rows of split {split!r};", remedy="train is all there is.")
        self._file = _captions(root, captions)
        self._found = Downloads(root, VIDEO)
        self._videos: list[str] = []
        self._spans, counts, missing, self.left_out = array("q"), array("q"), 0, 0
        for video, span, lines, skipped in _entries(self._file, self._found if only_downloaded else None):
            self._videos.append(video)
            self._spans.extend(span)
            counts.append(len(lines))
            self.left_out += skipped
            missing += 0 if self._found.find(video, whole=[video], source=video) else len(lines)
        self._ends = array("q", accumulate(counts))
        self._about = _about(root, set(self._videos))
        self._last: tuple[str, list[_Line]] = ("", [])
        if not len(self):
            remedy = "download videos: docs/retrieval_sets.md has the command." if only_downloaded else f"get the captions from {_PAGE}."
            raise DatasetError(f"{name} holds no rows{' with a video' if only_downloaded else ''};", remedy=remedy)
        if self.left_out:
            log.warning("%s: %d lines without words or length are left out", name, self.left_out)
        self.missing = tell_missing(missing, len(self), name)

    def __len__(self) -> int:
        """Lines of speech."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Example:
        """The line at `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        at = bisect_right(self._ends, index)
        video = self._videos[at]
        told, lines = self._last
        if told != video:
            lines = _read(self._file, video, self._spans[2 * at], self._spans[2 * at + 1])[0]
            self._last = (video, lines)
        line = lines[index - (self._ends[at - 1] if at else 0)]
        media = self._found.find(video, whole=[video], source=video, span=(line.start_s, line.end_s))
        return Example(
            id=f"howto100m/{video}/{line.number}",
            media=self._found.read(video, media),
            texts={"caption": line.text},
            labels={"captions": (line.text,), "start_s": line.start_s, "end_s": line.end_s, **self._about.get(video, {})},
            group=video,
            split="train",
        )


def _captions(root: Path, form: str | None) -> Path:
    """The file or folder of captions."""
    if form is not None and form not in _FORMS:
        raise DatasetError(f"captions is {form!r};", remedy=nearest(form, list(_FORMS)))
    for name in (form,) if form else _FORMS:
        if (root / name).is_dir() if name == _FORMS[2] else (root / name).is_file():
            return root / name
    raise LayoutError(f"{root} holds none of {', '.join((form,) if form else _FORMS)};", remedy=f"captions are got from {_PAGE}.")


def _entries(file: Path, there: Downloads | None) -> Iterator[tuple[str, tuple[int, int], list[_Line], int]]:
    """(video, place in the file, its lines, how many were left out) of every video, or of those that are there."""
    if file.is_dir():
        for path in sorted(p for p in file.iterdir() if p.suffix == ".csv" and not p.name.startswith("._")):
            if there is None or there.find(path.stem, whole=[path.stem], source=path.stem):
                yield path.stem, (0, 0), *_read(file, youtube_id(path.stem, path, 0), 0, 0)
        return
    seen: set[str] = set()
    for video, start, end, value in _members(file):
        if youtube_id(video, file, f"of byte {start}") in seen:
            raise DatasetError(f"{file}: {video} is there twice;", remedy="download it again.")
        seen.add(video)
        if there is None or there.find(video, whole=[video], source=video):
            yield video, (start, end), *_lines(value, f"{file}, {video}")


def _read(file: Path, video: str, start: int, end: int) -> tuple[list[_Line], int]:
    """The lines of one video, and how many were left out."""
    if file.is_dir():
        path = file / f"{video}.csv"
        told: dict[str, list[Any]] = {"start": [], "end": [], "text": []}
        for line, row in rows_of(path, tuple(told), exact=True):
            for key in ("start", "end"):
                told[key].append(_number(row[key], f"{path}, line {line}"))
            told["text"].append(row["text"])
        return _lines(told, str(path))
    try:
        with file.open("rb") as opened:
            opened.seek(start)
            return _lines(json.loads(opened.read(end - start)), f"{file}, {video}")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}, {video}: {error};", remedy="the file was changed while it was read; start again.") from error


def _number(word: str, where: str) -> float:
    """Seconds."""
    try:
        return float(word)
    except ValueError as error:
        raise DatasetError(f"{where}: {word!r};", remedy="wanted seconds.") from error


def _lines(value: Any, where: str) -> tuple[list[_Line], int]:
    """The lines of one video that have words and length, and how many have not."""
    lists: list[Any] = [value.get(key) for key in ("start", "end", "text")] if isinstance(value, Mapping) else []
    if not lists or not all(isinstance(v, list) for v in lists) or len({len(v) for v in lists}) != 1:
        raise DatasetError(f"{where}: {str(value)[:80]!r};", remedy=f"wanted lists of one length: {_LINE}.")
    found = []
    for number, (start, end, text) in enumerate(zip(*lists, strict=True)):
        times = all(isinstance(t, int | float) and not isinstance(t, bool) for t in (start, end))
        if not times or not isinstance(text, str | float | None):
            raise DatasetError(f"{where}: line {number} is {text!r} from {start!r} to {end!r};", remedy="wanted seconds, seconds, words.")
        if isinstance(text, str) and text.strip() and 0 <= start < end < _LONGEST_S:
            found.append(_Line(number, float(start), float(end), text.strip()))
    return found, len(lists[0]) - len(found)


def _members(file: Path) -> Iterator[tuple[str, int, int, Any]]:
    """(key, first byte, byte after, value) of each entry of a JSON object, without the whole of it in memory."""
    try:
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
            at = _past(text, 0, b"{", file)
            more = text[(at := _blank(text, at)) : at + 1] != b"}"
            while more:
                key, _, at = _decoded(text, at, file)
                value, start, at = _decoded(text, _past(text, at, b":", file), file)
                if not isinstance(key, str):
                    raise DatasetError(f"{file}, byte {start}: {key!r} is no video;", remedy=f"wanted {_LINE}.")
                yield key, start, at, value
                more = text[(at := _blank(text, at)) : at + 1] == b","
                at += more
            at = _blank(text, _past(text, at, b"}", file))
            if at < len(text):
                raise DatasetError(f"{file}: more follows after byte {at};", remedy="download it again.")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: {error};", remedy="download it again.") from error


def _blank(text: mmap.mmap, at: int) -> int:
    """The first byte from `at` on that is no white space."""
    while text[at : at + 1] in (b" ", b"\n", b"\r", b"\t"):
        at += 1
    return at


def _past(text: mmap.mmap, at: int, sign: bytes, file: Path) -> int:
    """The byte after `sign`, which must come next."""
    at = _blank(text, at)
    if text[at : at + 1] != sign:
        raise DatasetError(f"{file}, byte {at}: {text[at : at + 20]!r}, wanted {sign.decode()};", remedy=f"wanted {{{_LINE}, ..}}.")
    return at + 1


def _decoded(text: mmap.mmap, at: int, file: Path) -> tuple[Any, int, int]:
    """(value, first byte, byte after) of the JSON value that begins next; a window grows until it holds the whole of it."""
    at, size = _blank(text, at), _WINDOW
    while True:
        whole = at + size >= len(text)
        try:
            chunk = codecs.getincrementaldecoder("utf-8")().decode(text[at : at + size], final=whole)
            value, length = json.JSONDecoder().raw_decode(chunk)
            return value, at, at + (length if chunk.isascii() else len(chunk[:length].encode()))
        except json.JSONDecodeError as error:
            if whole or size >= _MOST:
                raise DatasetError(f"{file}, byte {at + error.pos}: {error.msg};", remedy="download it again.") from error
        except RecursionError as error:
            raise DatasetError(f"{file}, byte {at}: {error};", remedy="download it again.") from error
        size *= 4


def _about(root: Path, videos: set[str]) -> dict[str, dict[str, Any]]:
    """Video -> categories, rank and task, of those that have captions; nothing where the table is not there."""
    if not any((root / f"HowTo100M_v1.csv{end}").is_file() for end in ("", ".gz")):
        return {}
    found: dict[str, dict[str, Any]] = {}
    table = file_of(root, "HowTo100M_v1.csv")
    for line, row in rows_of(table, ("video_id", "category_1", "category_2", "rank", "task_id"), exact=True):
        if youtube_id(row["video_id"], table, line) in videos and row["video_id"] not in found:
            numbers = {k: whole_number(row[k], table, line) for k in ("rank", "task_id") if row[k]}
            found[row["video_id"]] = {k: sys.intern(row[k]) for k in ("category_1", "category_2") if row[k]} | numbers
    return found
