"""MSR-VTT: ten thousand clips of web videos with twenty captions each, in the 1k-A split of retrieval and in the full one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets._captioned import VIDEO, Captioned, Downloads, captions_of
from unifusion.datasets._files import file_of, json_object, one_of, rows_of, value
from unifusion.errors import DatasetError, nearest

__all__ = ["MSRVTT"]

_ONE_FILE = ("MSRVTT_data.json", "videodatainfo_2017.json")
_TWO_FILES = ("train_val_videodatainfo.json", "test_videodatainfo.json")
_FOLDERS = ("", "msrvtt_data/", "annotation/")
_PARTS = {"train": "train", "validate": "val", "test": "test"}
_VIDEO = re.compile(r"video[0-9]{1,5}")
_WATCHED = re.compile(r"v=([A-Za-z0-9_-]{11})$")
_CATEGORIES = (
    "music", "people", "gaming", "sports", "news", "education", "tv shows", "movie", "animation", "vehicles", "howto", "travel", "science",
    "animals", "kids", "documentary", "food", "cooking", "beauty", "advertisement",
)  # fmt: skip
Told = dict[str, dict[str, Any]]


class MSRVTT(Captioned):
    """MSR-VTT, a row a clip, with all its captions in `labels["captions"]`; in the test part of 1k-A each clip has one.

    Source: Xu et al., 2016; the split 1k-A is of Yu et al. (JSFusion), 2018, as CLIP4Clip publishes it. Licence: for research only, the
    videos are their owners'. Layout on disk: `MSRVTT_data.json` (or `videodatainfo_2017.json`, or the two files of 2016,
    `train_val_videodatainfo.json` and `test_videodatainfo.json`), and for 1k-A `MSRVTT_train.9k.csv` and `MSRVTT_JSFUSION_test.csv`; in the
    folder, `msrvtt_data` or `annotation`; clips `video0.mp4` .. anywhere below (`videos/all`, `TrainValVideo`). A row whose clip is not
    there has no media. One raw row of the three:

        {"category": 9, "url": "https://www.youtube.com/watch?v=9lZi22qLlEo", "video_id": "video0", "start time": 137.72, ..}
        {"caption": "a car is shown", "video_id": "video0", "sen_id": 0}
        ret0,msr9770,video9770,a person is connecting something to system

    `1k-A`: 9,000 clips in train, 1,000 in test, no val; each caption of test is relevant to one clip. `full`: 6,513 in train, 497 in val,
    2,990 in test. Which of the two a figure is of must be said with it. The group is the YouTube video. Where parts share
    videos, rows of train give way to those held out; how many is told, and `as_published` keeps them, as published figures do.
    `labels["label"]` is the category, `start_s` and `end_s` where the clip was cut from its video; the files are the clips.

    Args:
        path: the folder.
        split: train, val (of `full`), test, or None for all.
        protocol: 1k-A or full.
        only_downloaded: leave out rows without a clip.
        as_published: keep rows of train whose video is held out as well; then a group is a clip.
    """

    title, page = "MSR-VTT", "github.com/ArrowLuo/CLIP4Clip (msrvtt_data.zip; the videos' address is there as well)"
    published_leaks = True

    def __init__(
        self, path: str | Path, *, split: str | None = None, protocol: str = "1k-A", only_downloaded: bool = False,
        as_published: bool = False,
    ) -> None:  # fmt: skip
        if protocol not in ("1k-A", "full"):
            raise DatasetError(f"protocol is {protocol!r};", remedy=nearest(protocol, ["1k-A", "full"]))
        self.protocol = protocol
        super().__init__(path, split=split, only_downloaded=only_downloaded, as_published=as_published)

    def look(self, root: Path | None) -> Downloads:
        """The clips."""
        return Downloads(root, VIDEO)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Clips in the order of the tables."""
        if self.protocol == "full":
            for path in _files(root, self.page):
                videos, captions = _videos(path)
                for name, told in videos.items():
                    part = one_of(str(value(told, "split", path, name)), _PARTS, path, name)
                    yield self._row(name, captions.get(name, []), told, part, path)
            return
        train = _table(root, "MSRVTT_train.9k.csv", split == "train", self.page)
        test = _table(root, "MSRVTT_JSFUSION_test.csv", train is None or split == "test", self.page)
        known, captions = _known(root, self.page, needed=train is not None)
        for line, row in rows_of(train, ("video_id",), exact=True) if train else ():
            name = _name(row["video_id"], train or root, line)
            if name not in captions:
                raise DatasetError(f"{train}, line {line}: {name} has no captions;", remedy=f"take {_ONE_FILE[0]} of the same release.")
            yield self._row(name, captions[name], known[name], "train", train or root)
        for line, row in rows_of(test, ("video_id", "sentence"), exact=True) if test else ():
            name = _name(row["video_id"], test or root, line)
            yield self._row(name, [row["sentence"]], known.get(name, {}), "test", test or root)

    def _row(self, name: str, captions: list[str], told: Mapping[str, Any], part: str, path: Path) -> Example:
        """A clip."""
        said = captions_of(captions, path, name)
        watched = _WATCHED.search(str(told.get("url", "")))
        return Example(
            id=f"msrvtt/{name}",
            media=self.downloads.find(f"msrvtt/{name}", cut=[name]),
            texts=said["texts"],
            labels={**said["labels"], **_labels(told, path, name)},
            group=watched[1] if watched else f"msrvtt/{name}",
            split=part,
        )


def _table(root: Path, name: str, needed: bool, page: str) -> Path | None:
    """A table of 1k-A; None where it is neither there nor needed."""
    there = any((root / f"{folder}{name}{end}").is_file() for folder in _FOLDERS for end in ("", ".gz"))
    return file_of(root, *(f"{folder}{name}" for folder in _FOLDERS), where=page) if there or needed else None


def _files(root: Path, page: str) -> list[Path]:
    """The file with all captions, or the two files with theirs."""
    if (first := _table(root, _TWO_FILES[0], False, page)) and all(_table(root, name, False, page) is None for name in _ONE_FILE):
        return [first, *([second] if (second := _table(root, _TWO_FILES[1], False, page)) else [])]
    return [file_of(root, *(f"{folder}{name}" for name in (*_ONE_FILE, _TWO_FILES[1]) for folder in _FOLDERS), where=page)]


def _known(root: Path, page: str, *, needed: bool) -> tuple[Told, dict[str, list[str]]]:
    """Name -> what is told of the clip, and name -> its captions; nothing where only the test part of 1k-A lies there."""
    videos: Told = {}
    captions: dict[str, list[str]] = {}
    if needed or any(_table(root, name, False, page) for name in (*_ONE_FILE, *_TWO_FILES)):
        for path in _files(root, page):
            more = _videos(path)
            videos, captions = videos | more[0], captions | more[1]
    return videos, captions


def _videos(path: Path) -> tuple[Told, dict[str, list[str]]]:
    """Name -> what is told of the clip, and name -> its captions, of one file."""
    found = json_object(path)
    lists = []
    for key in ("videos", "sentences"):
        entries = value(found, key, path, 1)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise DatasetError(f"{path}: {key} is no list of objects;", remedy="check that it is the annotation file.")
        lists.append(entries)
    videos = {_name(value(e, "video_id", path, f"video {n}"), path, f"video {n}"): e for n, e in enumerate(lists[0])}
    captions: dict[str, list[str]] = {}
    for n, entry in enumerate(lists[1]):
        name, caption = _name(value(entry, "video_id", path, f"sentence {n}"), path, f"sentence {n}"), value(entry, "caption", path, n)
        if name not in videos or not isinstance(caption, str):
            raise DatasetError(f"{path}, sentence {n}: {caption!r} of {name};", remedy="wanted a text of one of its videos.")
        captions.setdefault(name, []).append(caption)
    return videos, captions


def _name(word: Any, path: Path, line: int | str) -> str:
    """A clip's name."""
    if not isinstance(word, str) or not _VIDEO.fullmatch(word):
        raise DatasetError(f"{path}, line {line}: video_id {word!r};", remedy="wanted video0, video1 ..")
    return word


def _labels(told: Mapping[str, Any], path: Path, name: str) -> dict[str, Any]:
    """Category and span, where they are known."""
    category, start, end = told.get("category"), told.get("start time"), told.get("end time")
    found: dict[str, Any] = {}
    if category is not None:
        if type(category) is not int or not 0 <= category < len(_CATEGORIES):
            raise DatasetError(f"{path}, {name}: category {category!r};", remedy=f"wanted a number from 0 to {len(_CATEGORIES) - 1}.")
        found["label"] = _CATEGORIES[category]
    if start is not None or end is not None:
        if not all(isinstance(t, int | float) and not isinstance(t, bool) for t in (start, end)) or not 0 <= start < end < 1e7:  # type: ignore[operator]
            raise DatasetError(f"{path}, {name}: from {start!r} to {end!r};", remedy="wanted seconds, the end after the start.")
        found |= {"start_s": float(start), "end_s": float(end)}  # type: ignore[arg-type]
    return found
