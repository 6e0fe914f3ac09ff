"""MSR-VTT's own tables, for its captions and for the questions that were made of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion.datasets._files import file_of, json_object, value, where_in
from unifusion.errors import DatasetError

__all__ = ["ONE_FILE", "clip_name", "group_of", "known_clips", "table_in", "tables_in", "videos_in"]

ONE_FILE = ("MSRVTT_data.json", "videodatainfo_2017.json")
_TWO_FILES = ("train_val_videodatainfo.json", "test_videodatainfo.json")
_FOLDERS = ("", "msrvtt_data/", "annotation/")
_VIDEO = re.compile(r"video[0-9]{1,5}")
_WATCHED = re.compile(r"v=([A-Za-z0-9_-]{11})$")
Told = dict[str, dict[str, Any]]


def group_of(name: str, told: Mapping[str, Any]) -> str:
    """The YouTube video of a clip where it is told, else the clip."""
    watched = _WATCHED.search(str(told.get("url", "")))
    return watched[1] if watched else f"msrvtt/{name}"


def table_in(root: Path, name: str, needed: bool, page: str) -> Path | None:
    """A table of 1k-A; None where it is neither there nor needed."""
    there = any((root / f"{folder}{name}{end}").is_file() for folder in _FOLDERS for end in ("", ".gz"))
    return file_of(root, *(f"{folder}{name}" for folder in _FOLDERS), where=page) if there or needed else None


def tables_in(root: Path, page: str) -> list[Path]:
    """The file with all captions, or the two files with theirs."""
    if (first := table_in(root, _TWO_FILES[0], False, page)) and all(table_in(root, name, False, page) is None for name in ONE_FILE):
        return [first, *([second] if (second := table_in(root, _TWO_FILES[1], False, page)) else [])]
    return [file_of(root, *(f"{folder}{name}" for name in (*ONE_FILE, _TWO_FILES[1]) for folder in _FOLDERS), where=page)]


def known_clips(root: Path, page: str, *, needed: bool) -> tuple[Told, dict[str, list[str]]]:
    """Name -> what is told of the clip, and name -> its captions; nothing where only the test part of 1k-A lies there."""
    videos: Told = {}
    captions: dict[str, list[str]] = {}
    if needed or any(table_in(root, name, False, page) for name in (*ONE_FILE, *_TWO_FILES)):
        for path in tables_in(root, page):
            more = videos_in(path)
            videos, captions = videos | more[0], captions | more[1]
    return videos, captions


def videos_in(path: Path) -> tuple[Told, dict[str, list[str]]]:
    """Name -> what is told of the clip, and name -> its captions, of one file."""
    found = json_object(path)
    lists = []
    for key in ("videos", "sentences"):
        entries = value(found, key, path, 1)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise DatasetError(f"{path}: {key} is no list of objects;", remedy="check that it is the annotation file.")
        lists.append(entries)
    videos = {clip_name(value(e, "video_id", path, f"video {n}"), path, f"video {n}"): e for n, e in enumerate(lists[0])}
    captions: dict[str, list[str]] = {}
    for n, entry in enumerate(lists[1]):
        name, caption = clip_name(value(entry, "video_id", path, f"sentence {n}"), path, f"sentence {n}"), value(entry, "caption", path, n)
        if name not in videos or not isinstance(caption, str):
            raise DatasetError(f"{path}, sentence {n}: {caption!r} of {name};", remedy="wanted a text of one of its videos.")
        captions.setdefault(name, []).append(caption)
    return videos, captions


def clip_name(word: Any, path: Path, line: int | str) -> str:
    """A clip's name."""
    if not isinstance(word, str) or not _VIDEO.fullmatch(word):
        raise DatasetError(f"{path}, {where_in(line)}: video_id {word!r};", remedy="wanted video0, video1 ..")
    return word
