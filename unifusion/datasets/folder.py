"""One's own clips with emotions: a table of files and labels, or a folder for each class."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Listed, is_pointer, json_lines, media_files, number_of, part_of, text_of
from unifusion.datasets._rows import KINDS, kind_of_name
from unifusion.errors import DatasetError, nearest

__all__ = ["Folder"]

_TABLES = (".csv", ".tsv", ".jsonl")
_NAMES = ("labels", "metadata", "manifest", "index")
_OWN = ("id", "path", "label", "speaker", "group", "split", "start", "end", "transcript", "valence", "arousal")
_METADATA = (
    "speaker_age", "speaker_gender", "speaker_timbre", "speaker_personality", "listener_age", "listener_gender", "listener_timbre",
    "listener_personality", "topic", "role", "turn", "scenario", "cause", "goal",
)  # fmt: skip
_SPLITS = {"train": "train", "training": "train", "val": "val", "dev": "val", "valid": "val", "validation": "val", "test": "test"}


class Folder(Listed):
    """Clips and their labels as one keeps them: CSV, TSV or JSON lines, or a folder for each class.

    Source: one's own. Licence: one's own. Layout on disk: a table (`labels.csv`, `metadata.csv`, `manifest.jsonl`, or any other name that
    is given as `path`) with `path` and `label`, and where they are known `speaker`, `group`, `split`, `start`, `end` (seconds),
    `transcript`, `valence`, `arousal` (in [-1, 1]), `id`, and what is known of a talk: `topic`, `role`, `turn`, `scenario`, `cause`,
    `goal`, `speaker_age` .. (of these the metadata is made). Further columns are labels under their own names. Tables of Excel are read
    with their mark at the start, quotes and code page, with commas, semicolons or tabs. Without a table, the folders' names are the
    labels (`happy/a.wav`), below folders of splits where there are such (`train/happy/a.wav`). One raw row:

        path,label,speaker
        clips/a.mp4,happy,anna

    The group is `group`, else the speaker, else the file. Rows without a split are train, val or test by a hash of the group, a tenth each
    for the latter two. With `classes`, labels are told in other words: `{joy: happy}`.

    Args:
        path: the table, or the folder.
        split: train, val, test, or None for all.
        columns: key -> the column it is read from (`{label: Emotion, path: file}`).
        classes: label as it is written -> label.
        label: key among the labels under which a label stands.

    Raises:
        DatasetError: a file is missing, a row is broken (with file and line), or a group is in two splits.
    """

    def __init__(
        self, path: str | Path, *, split: str | None = None, columns: Mapping[str, str] | None = None,
        classes: Mapping[str, str] | None = None, label: str = "emotion",
    ) -> None:  # fmt: skip
        for key in columns or {}:
            if key not in (*_OWN, *_METADATA):
                raise DatasetError(f"columns: {key!r};", remedy=nearest(key, [*_OWN, *_METADATA]))
        self._columns, self._classes, self._label = dict(columns or {}), dict(classes or {}), label
        root = Path(path)
        self.table = _table(root)
        rows = self._told(self.table) if self.table is not None else self._sorted(root)
        super().__init__(rows, split, str(path))

    def _told(self, table: Path) -> Iterator[Example]:
        """Rows of a table."""
        for line, raw in _raw(table):
            row = {k: ("" if v is None else v) for k, v in raw.items() if k is not None}
            fields = {}
            for key in (*_OWN, *_METADATA):
                column = self._columns.get(key, key)
                if column in row:
                    fields[key] = str(row.pop(column)).strip()
                elif key in self._columns or key == "path":
                    raise DatasetError(f"{table}, line {line}: no {column!r};", remedy=nearest(column, list(raw)))
            yield self._row(fields, row, table, line)

    def _row(self, fields: Mapping[str, str], further: Mapping[str, Any], table: Path, line: int) -> Example:
        """One row of a table."""
        file = table.parent / fields["path"]
        if not fields["path"] or not file.is_file():
            raise DatasetError(f"{table}, line {line}: no file {fields['path']!r};", remedy=f"paths are relative to {table.parent}.")
        if is_pointer(file):
            raise DatasetError(f"{table}, line {line}: {file} is a pointer of git-lfs;", remedy="run `git lfs pull`.")
        start, end = (number_of(fields[k], table, line, 0, 1e7) if fields.get(k) else None for k in ("start", "end"))
        if start is not None and end is not None and end <= start:
            raise DatasetError(f"{table}, line {line}: from {start:g} to {end:g} s;", remedy="wanted an end after the start.")
        labels: dict[str, Any] = {k: v for k, v in further.items() if v != ""}
        labels |= {self._label: self._classes.get(fields["label"], fields["label"])} if fields.get("label") else {}
        labels |= {k: number_of(fields[k], table, line, -1, 1) for k in ("valence", "arousal") if fields.get(k)}
        labels |= {"speaker": fields["speaker"]} if fields.get("speaker") else {}
        known: dict[str, Any] = {k: fields[k] for k in _METADATA if fields.get(k)}
        if "turn" in known:
            known["turn"] = int(number_of(known["turn"], table, line, 0, 1e6))
        said = fields.get("transcript") or None
        group = fields.get("group") or fields.get("speaker") or fields["path"]
        span = "" if start is None else f"@{start:g}"
        media = Media(kind=kind_of_name(file.name, f"{table}, line {line}"), source=str(file), start_s=start, end_s=end, transcript=said)
        return Example(
            id=fields.get("id") or f"{fields['path']}{span}",
            media=(media,),
            texts={"transcript": said} if said else {},
            labels=labels | ({"metadata": known} if known else {}),
            group=group,
            split=_split(fields.get("split", ""), group, table, line),
        )

    def _sorted(self, root: Path) -> Iterator[Example]:
        """Rows of folders of classes."""
        for file in media_files(root, tuple(f".{end}" for end in KINDS)):
            *above, written = file.relative_to(root).parts[:-1] or ("",)
            if not written:
                raise DatasetError(f"{file} lies in no folder of a class;", remedy="sort the clips by class, or write a labels.csv.")
            name = file.relative_to(root).as_posix()
            part = next((_SPLITS[folder.lower()] for folder in above if folder.lower() in _SPLITS), "")
            label = self._classes.get(written, written)
            media = (Media(kind=kind_of_name(file.name, name), source=str(file)),)
            yield Example(id=name, media=media, labels={self._label: label}, group=name, split=part or part_of(name))


def _table(root: Path) -> Path | None:
    """The table that `root` is or holds; None where folders are the labels."""
    if root.is_file():
        if root.suffix.lower() not in _TABLES:
            raise DatasetError(f"{root} is no table;", remedy=f"wanted one of {', '.join(_TABLES)}.")
        return root
    if not root.is_dir():
        raise DatasetError(f"{root} is neither a table nor a folder;", remedy="write a CSV with the columns path and label.")
    found = [root / f"{name}{end}" for name in _NAMES for end in _TABLES if (root / f"{name}{end}").is_file()]
    found = found or sorted(p for p in root.iterdir() if p.suffix.lower() in _TABLES and p.is_file() and not p.name.startswith("._"))
    if len(found) > 1:
        raise DatasetError(f"{root} holds {len(found)} tables, such as {found[0].name} and {found[1].name};", remedy="name one of them.")
    return found[0] if found else None


def _raw(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, row); the delimiter of a CSV is the one that its first line has most of."""
    if table.suffix.lower() == ".jsonl":
        yield from json_lines(table)
        return
    text = text_of(table)
    head = text.split("\n", 1)[0]
    delimiter = "\t" if table.suffix.lower() == ".tsv" else max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restkey="")
    for row in reader:
        if "" in row or any(v is None for v in row.values()):
            wanted = len(reader.fieldnames or ())
            raise DatasetError(f"{table}, line {reader.line_num}: more or fewer fields than {wanted};", remedy="quote texts with commas.")
        yield reader.line_num, {k.strip(): v for k, v in row.items()}


def _split(word: str, group: str, table: Path, line: int) -> str:
    """The split that a row tells, or one by a hash of its group."""
    if not word:
        return part_of(group)
    if word.lower() not in _SPLITS:
        raise DatasetError(f"{table}, line {line}: split {word!r};", remedy=nearest(word.lower(), list(_SPLITS)))
    return _SPLITS[word.lower()]
