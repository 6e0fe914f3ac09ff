"""WebVid: stock videos of some twenty seconds with the captions they were sold under."""

from __future__ import annotations

import csv
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from unifusion.conversation import Example, Media
from unifusion.datasets._captioned import log, tell_missing
from unifusion.datasets._shards import Shards
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, LayoutError, nearest

__all__ = ["WebVid"]

_COLUMNS = ("videoid", "contentUrl", "duration", "page_dir", "name")
_DURATION = re.compile(r"PT([0-9]{1,4})H([0-9]{1,4})M([0-9]{1,4})S")
_PAGES = re.compile(r"[0-9]{1,12}_[0-9]{1,12}")
_FOLDERS = ("videos", "data/videos", "data/videos/videos")
_NOWHERE, _FLAT = -1, len(_FOLDERS)
_PAGE = "huggingface.co/datasets/TempoFunk/webvid-10M (its own page, m-bain.github.io/webvid-dataset, is closed)"


class WebVid(Dataset):
    """WebVid by its tables, one row a video, read from the table when it is asked for: a row costs 25 bytes of memory.

    Source: Bain et al., 2021, github.com/m-bain/webvid. Licence: terms of the authors, research only, not for trade; the videos are the
    sellers', at whose request the tables were taken down in 2024. Layout on disk: `results_2M_train.csv` and `results_2M_val.csv`, or those
    of `10M`, or the copy of the latter in `data/train/partitions/*.csv` and `data/val/partitions`; videos as `download.py` lays them,
    `videos/<page_dir>/<videoid>.mp4` (also in `data`), or `videos/<videoid>.mp4`; or what video2dataset wrote, in the folder or in
    `shards`, found again by its address. A row whose video is not there has no media. One raw row:

        21179416,https://ak.picdn.net/shutterstock/videos/21179416/preview/stock-footage-aerial.mp4,PT00H00M11S,006001_006050,Aerial shot..

    The caption of a video is relevant to every video with the same words. The group is the video. Rows whose caption is empty, whose
    number came before, or which are in train and in val as well are left out (of train) and counted in `left_out`; `missing` counts videos
    that are not there. `labels["duration_s"]` is what the seller says.

    Args:
        path: the folder.
        split: train, val, or None for both.
        size: 2M or 10M, where the tables of both are there.
        only_downloaded: leave out rows without a video.

    Raises:
        DatasetError: no table, tables of both sizes and no choice, or a broken row (with file and line).
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, size: str | None = None, only_downloaded: bool = False
    ) -> None:  # fmt: skip
        self.root, name = Path(path), f"WebVid in {path}"
        if split not in (None, "train", "val"):
            raise DatasetError(f"{name} has no split {split!r};", remedy=nearest(str(split), ["train", "val"]))
        self._tables = _tables(self.root, size, split)
        self._shards = Shards(self.root, self.root / "shards")
        self._offsets, self._table, self._place, self._sample = array("q"), array("l"), array("b"), array("q")
        self.left_out = self.missing = self._there = 0
        self._index(_Places(self.root), split, only_downloaded)
        if self.left_out:
            log.warning("%s: %d rows without words, twice there or of train and val are left out", name, self.left_out)
        tell_missing(self.missing, self.missing + self._there, name)
        if not len(self):
            remedy = "download videos: docs/retrieval_sets.md has the command." if only_downloaded else "check the tables."
            raise DatasetError(f"{name} holds no rows{' with a video' if only_downloaded else ''};", remedy=remedy)

    def _index(self, places: _Places, split: str | None, only_downloaded: bool) -> None:
        """Find the rows; those of val come before those of train, which give way."""
        samples = _by_address(self._shards)
        seen: set[int] = set()
        for number, table in enumerate(self._tables):
            asked = split in (None, table.part)
            for offset, row in table.rows():
                if row.videoid in seen or not row.name:
                    self.left_out += asked
                    continue
                seen.add(row.videoid)
                if not asked:
                    continue
                place, sample = places.of(row), samples.get(row.url, -1)
                there = place != _NOWHERE or sample >= 0
                self._there += there
                self.missing += not there
                if only_downloaded and not there:
                    continue
                self._offsets.append(offset)
                self._table.append(number)
                self._place.append(place)
                self._sample.append(sample)

    def __len__(self) -> int:
        """Rows."""
        return len(self._offsets)

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        table = self._tables[self._table[index]]
        row = next(table.rows(self._offsets[index]))[1]
        media: tuple[Media, ...] = ()
        if self._place[index] != _NOWHERE:
            media = (Media(kind="video", source=str(_file(self.root, row, self._place[index]))),)
        elif self._sample[index] >= 0:
            media = self._shards.media(self._sample[index])
        return Example(
            id=f"webvid/{row.videoid}",
            media=media,
            texts={"caption": row.name},
            labels={"captions": (row.name,), **({} if row.duration_s is None else {"duration_s": row.duration_s})},
            group=f"webvid/{row.videoid}",
            split=table.part,
        )


class _Row:
    """Fields of a row, checked.

    Args:
        fields: in the order of `_COLUMNS`.
        table: the file.
        line: of it.
    """

    def __init__(self, fields: Sequence[str], table: Path, line: int | str) -> None:
        number, self.url, length, self.pages, name = fields
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise DatasetError(f"{table}, line {line}: videoid {number!r};", remedy="wanted a number.")
        if self.pages and not _PAGES.fullmatch(self.pages):
            raise DatasetError(f"{table}, line {line}: page_dir {self.pages!r};", remedy="wanted two numbers such as 000001_000050.")
        told = _DURATION.fullmatch(length)
        if length and told is None:
            raise DatasetError(f"{table}, line {line}: duration {length!r};", remedy="wanted PT00H00M20S.")
        self.videoid, self.name = int(number), name.strip()
        self.duration_s = float(int(told[1]) * 3600 + int(told[2]) * 60 + int(told[3])) if told else None


class _Places:
    """Which videos lie in which folder; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed: dict[str, frozenset[int]] = {}

    def of(self, row: _Row) -> int:
        """The number of the folder that a video lies in."""
        for number, folder in enumerate(_FOLDERS):
            if row.pages and row.videoid in self._in(f"{folder}/{row.pages}"):
                return number
        return _FLAT if row.videoid in self._in("videos") else _NOWHERE

    def _in(self, folder: str) -> frozenset[int]:
        """The videos in a folder."""
        if folder not in self._listed:
            names = os.listdir(self.root / folder) if (self.root / folder).is_dir() else ()
            self._listed[folder] = frozenset(int(n[:-4]) for n in names if n.endswith(".mp4") and n[:-4].isascii() and n[:-4].isdigit())
        return self._listed[folder]


def _file(root: Path, row: _Row, place: int) -> Path:
    """A video's path."""
    return root / "videos" / f"{row.videoid}.mp4" if place == _FLAT else root / _FOLDERS[place] / row.pages / f"{row.videoid}.mp4"


class _Table:
    """A table, read from any of its rows on.

    Args:
        path: the file.
        part: train or val.
    """

    def __init__(self, path: Path, part: str) -> None:
        self.path, self.part, self._first = path, part, 0
        _, self._first, header = next(self._records(0), (0, 0, list[str]()))
        if not header:
            raise DatasetError(f"{path} is empty;", remedy="download the table again.")
        names = [h.removeprefix("\ufeff") for h in header]
        lacking = next((c for c in _COLUMNS if c not in names), None)
        if lacking is not None:
            raise DatasetError(f"{path} has no column {lacking!r};", remedy=f"its columns are {', '.join(names)[:200]}.")
        self._width, self._columns = len(names), [names.index(c) for c in _COLUMNS]

    def rows(self, start: int | None = None) -> Iterator[tuple[int, _Row]]:
        """(byte it begins at, row), from the first row, or from the one at byte `start`."""
        begins = self._first if start is None else start
        for line, after, fields in self._records(begins):
            where = line if start is None else f"at byte {start}"
            if fields and len(fields) != self._width:
                raise DatasetError(
                    f"{self.path}, line {where}: {len(fields)} fields;", remedy=f"wanted {self._width}, as in its first line."
                )
            if fields:
                yield begins, _Row([fields[c] for c in self._columns], self.path, where)
            begins = after

    def _records(self, at: int) -> Iterator[tuple[int, int, list[str]]]:
        """(line, byte after it, fields) from a byte on."""
        first = at
        line = int(at > 0)  # the line of names was read before

        def decoded(raws: Iterable[bytes]) -> Iterator[str]:
            """Lines as text, counting their bytes."""
            nonlocal at
            for raw in raws:
                at += len(raw)
                yield raw.decode("utf-8")

        try:
            with self.path.open("rb") as file:
                file.seek(at)
                reader = csv.reader(decoded(file), strict=True)
                for fields in reader:
                    yield (line := reader.line_num + int(first > 0)), at, fields
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{self.path}, line {line + 1}: {error};", remedy="download the table again.") from error


def _tables(root: Path, size: str | None, split: str | None) -> list[_Table]:
    """Tables of one size, val first; for val alone that of train is not read."""
    if size not in (None, "2M", "10M"):
        raise DatasetError(f"size is {size!r};", remedy=nearest(str(size), ["2M", "10M"]))
    parts = ("val", "train")
    found = {s: [(p, part) for part in parts if (p := root / f"results_{s}_{part}.csv").is_file()] for s in ("2M", "10M")}
    found["10M"] = found["10M"] or [(p, part) for part in parts for p in sorted((root / "data" / part / "partitions").glob("*.csv"))]
    there = [s for s in found if found[s] and size in (None, s)]
    if not there:
        raise LayoutError(f"{root} holds no results_{size or '2M'}_train.csv;", remedy=f"name the folder of the tables, got from {_PAGE}.")
    if len(there) > 1:
        raise DatasetError(f"{root} holds the tables of 2M and of 10M;", remedy="choose one: options: {size: 2M}.")
    chosen = found[there[0]]
    if split is not None and all(part != split for _, part in chosen):
        raise DatasetError(f"{root} holds no table of {split!r};", remedy=f"the tables are got from {_PAGE}.")
    return [_Table(path, part) for path, part in chosen if split != "val" or part == "val"]


def _by_address(shards: Shards) -> dict[str, int]:
    """Address -> the sample that was downloaded from it."""
    found: dict[str, int] = {}
    for index in range(len(shards)):
        if "video" in shards.kinds(index):
            url = shards.told(index).get("url")
            if not isinstance(url, str):
                raise LayoutError(f"{shards.where(index)}: its .json has no url;", remedy="wanted a shard of video2dataset.")
            found.setdefault(url, index)
    return found
