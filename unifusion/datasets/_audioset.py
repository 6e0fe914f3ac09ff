"""AudioSet's tables: segments and classes, by its authors and as CAV-MAE's authors spell them."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unifusion.datasets._captioned import LONGEST_NAME, youtube_id
from unifusion.datasets._files import file_of, json_list, json_object, number_of, rows_of, text_of, value, where_in
from unifusion.errors import DatasetError, nearest

__all__ = ["PAGE", "SPLITS", "TABLES", "Segment", "classes_in", "segments_in", "tables_in"]

PAGE = "research.google.com/audioset/download.html"
TABLES = {
    "eval": ("eval_segments.csv", "audioset_eval_cleaned.json", "audioset_eval.json"),
    "balanced": ("balanced_train_segments.csv", "audioset_20k_cleaned.json", "audioset_20k.json"),
    "unbalanced": ("unbalanced_train_segments.csv", "audioset_2m_cleaned.json", "audioset_2m.json"),
}
"""In the order in which a video keeps its place: what is held out first."""
SPLITS = {"eval": "test", "balanced": "train", "unbalanced": "train"}
_FOLDERS = ("", "csv/", "segments/", "metadata/", "data/")
_COUNTED = re.compile(r"num_segs=([0-9]{1,9})")

log = logging.getLogger(__name__)


class Segment(NamedTuple):
    """One row of a table."""

    name: str
    """YouTube id."""
    span: tuple[float, float] | None
    """Seconds of the video, where the table tells them."""
    sounds: tuple[int, ...]
    """Numbers of its classes."""
    wav: str = ""
    """Its sound, where CAV-MAE's json says."""
    pictures: str = ""
    """The folder of `frame_0` .. `frame_9`, likewise."""


def tables_in(root: Path, split: str | None, part: str | None) -> list[tuple[str, Path]]:
    """(part, table) of all that are there, what is held out first.

    Raises:
        DatasetError: none of what was asked for is there.
    """
    places = {p: [f"{folder}{name}" for name in names for folder in _FOLDERS] for p, names in TABLES.items()}
    there = {p: file_of(root, *names) for p, names in places.items() if _any(root, names)}
    asked = [p for p in TABLES if part in (None, p) and split in (None, SPLITS[p])]
    if not any(p in there for p in asked):
        file_of(root, *(TABLES[p][0] for p in asked), where=PAGE)
    return list(there.items())


def _any(root: Path, names: Sequence[str]) -> bool:
    """Whether one of the tables is there."""
    return any((root / f"{name}{end}").is_file() for name in names for end in ("", ".gz"))


def classes_in(root: Path) -> tuple[list[str], dict[str, int]]:
    """Names of the classes in their order, and the number of each by its machine id.

    Raises:
        DatasetError: there is neither `class_labels_indices.csv` nor `ontology.json`, or it is broken.
    """
    path = file_of(root, *(f"{folder}{name}" for name in ("class_labels_indices.csv", "ontology.json") for folder in _FOLDERS), where=PAGE)
    names: list[str] = []
    numbers: dict[str, int] = {}
    for line, mid, name in _named(path):
        if not isinstance(mid, str) or not isinstance(name, str) or mid in numbers or not name.strip():
            raise DatasetError(f"{path}, {where_in(line)}: {mid!r} {name!r};", remedy="wanted one name for each id.")
        numbers[mid] = len(names)
        names.append(name.strip())
    return names, numbers


def _named(path: Path) -> Iterator[tuple[int | str, Any, Any]]:
    """(line, machine id, name) of the table of classes, or of the ontology, which has abstract classes as well."""
    if path.name.removesuffix(".gz").endswith(".json"):
        yield from ((f"entry {n}", value(row, "id", path, f"entry {n}"), row.get("name")) for n, row in enumerate(json_list(path)))
    else:
        columns = ("index", "mid", "display_name")
        yield from ((line, row["mid"], row["display_name"]) for line, row in rows_of(path, columns, exact=True))


def segments_in(path: Path, numbers: Mapping[str, int]) -> Iterator[Segment]:
    """Rows of a table in their order.

    Raises:
        DatasetError: a row is broken, with file and line.
    """
    yield from _of_json(path, numbers) if path.name.removesuffix(".gz").endswith(".json") else _of_csv(path, numbers)


def _of_csv(path: Path, numbers: Mapping[str, int]) -> Iterator[Segment]:
    """Rows of a table with three lines of comments, of which the second counts its segments."""
    text = text_of(path)
    counted = _COUNTED.search(text, 0, 1000)
    reader, count = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True), 0
    try:
        for row in reader:
            if not row or row[0].startswith("#"):
                continue
            line, count = reader.line_num, count + 1
            if len(row) != 4:
                raise DatasetError(f"{path}, line {line}: {len(row)} fields;", remedy='wanted id, start, end, "ids of its classes".')
            start, end = (number_of(word, path, line, 0, 1e6) for word in row[1:3])
            if not start < end:
                raise DatasetError(f"{path}, line {line}: from {row[1]} to {row[2]};", remedy="wanted the end after the start.")
            yield Segment(youtube_id(row[0], path, line), (start, end), _sounds(row[3], numbers, path, line))
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num + 1}: {error};", remedy="download it again, or mend its quotes.") from error
    if counted and int(counted[1]) != count:
        log.warning("%s holds %d segments, its second line says %s: it may have been cut off", path, count, counted[1])


def _of_json(path: Path, numbers: Mapping[str, int]) -> Iterator[Segment]:
    """Rows of CAV-MAE's form."""
    found = value(json_object(path), "data", path, 1)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DatasetError(f"{path}: data is no list of objects;", remedy="check that it is the annotation file.")
    for number, row in enumerate(found):
        entry = f"entry {number}"
        name, labels = (_text(row, key, path, entry) for key in ("video_id", "labels"))
        wav, pictures = (_text(row, key, path, entry) if key in row else "" for key in ("wav", "video_path"))
        yield Segment(youtube_id(name, path, entry), None, _sounds(labels, numbers, path, entry), wav, pictures)


def _text(row: Mapping[str, Any], key: str, path: Path, entry: str) -> str:
    """A text of a row."""
    found = value(row, key, path, entry)
    if not isinstance(found, str) or not found.isprintable() or any(len(part.encode()) > LONGEST_NAME for part in found.split("/")):
        raise DatasetError(f"{path}, {entry}: {key} is {str(found)[:80]!r};", remedy="wanted a text of one line, or a path.")
    return found


def _sounds(told: str, numbers: Mapping[str, int], path: Path, line: int | str) -> tuple[int, ...]:
    """Numbers of the classes `/m/09x0r,/t/dd00088`."""
    try:
        return tuple([numbers[mid.strip()] for mid in told.split(",")])
    except KeyError as error:
        raise DatasetError(
            f"{path}, {where_in(line)}: {error} is none of the classes;", remedy=nearest(str(error.args[0]), list(numbers))
        ) from error
