"""Rows of a prediction manifest: one JSON object per line with an id, a clip and perhaps a question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media, MediaKind
from unifusion.errors import DatasetError
from unifusion.limits import Limits
from unifusion.rows import CLIP_KEYS, NamedClips, json_row, speaking, take_clips

__all__ = ["Row", "kind_of", "read_lines", "read_manifest", "row_of"]

_NAMED: dict[str, MediaKind] = {"video": "video", "audio": "audio", "image": "image"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a manifest.

    Attributes:
        id: the line's `id`, or its number (from 1) where it has none.
        clips: the files, with their span and what is said in them; paths are resolved against the manifest's folder.
        question: what to ask; empty takes the task's own words.
        fields: every other key of the line, for tasks that need them (options, caption, transcript ..).
        mark: a short hash of all that the line says beside its id, by which an answer is known to be to this line.
        listen: finds the timed words of the clip that words are heard in, where the line has none.
    """

    id: str
    clips: NamedClips = NamedClips()  # noqa: RUF009 - frozen
    question: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    mark: str = ""
    listen: Callable[[Media], Media] | None = None

    def media(self, limits: Limits | None = None) -> tuple[Media, ...]:
        """The row's media; what a file under `path` is follows from its header.

        Raises:
            MediaError: a file is missing or its header cannot be read.
        """
        return tuple(self.clip(n, limits) for n in range(len(self.clips.files)))

    def clip(self, number: int, limits: Limits | None = None) -> Media:
        """One of them; the others are not looked at.

        Raises:
            MediaError: as `media`.
        """
        key, path = self.clips.files[number]
        media = Media(
            kind=_NAMED.get(key) or kind_of(path, limits), source=path, start_s=self.clips.start_s, end_s=self.clips.end_s,
            transcript=self.clips.said(number), **self.clips.lines(number),
        )  # fmt: skip
        heard = self.listen is not None and not media.subtitles and number == speaking([k for k, _ in self.clips.files])
        return self.listen(media) if self.listen is not None and heard else media

    def example(self, limits: Limits | None = None) -> Example:
        """The row as an Example: strings are texts that a prompt may show, the other fields are labels.

        Raises:
            MediaError: as `media`.
        """
        texts = {k: v for k, v in self.fields.items() if isinstance(v, str)}
        if self.question:
            texts["question"] = self.question
        labels = {k: v for k, v in self.fields.items() if not isinstance(v, str)}
        if isinstance(said := labels.get("texts"), Mapping):  # as `unifusion data world` and `data convert` write them
            texts |= {k: v for k, v in said.items() if isinstance(v, str)}
            del labels["texts"]
        if isinstance(apart := labels.get("labels"), Mapping):
            labels = {**{k: v for k, v in labels.items() if k != "labels"}, **apart}
        return Example(id=self.id, media=self.media(limits), texts=texts, labels=labels)


def kind_of(path: str, limits: Limits | None = None) -> MediaKind:
    """Return `video`, `audio` or `image` by what the header of a file says, not by its name.

    Raises:
        MediaError: the file is missing or its header cannot be read.
    """
    if path.startswith("clip-world://"):
        return "video"
    from unifusion.media import probe

    info = probe(path, limits=limits or Limits())
    return "image" if info.is_image else "video" if info.has_video else "audio"


def read_manifest(path: Path) -> list[Row]:
    """Read all rows; a mistake in one stops the run before any work is done.

    Raises:
        DatasetError: no such file, or a line that is not as the format says, by number.
    """
    rows: dict[str, Row] = {}
    for number, raw in read_lines(path):
        row = row_of(raw, f"{path}:{number}", number, path.parent)
        if row.id in rows:
            raise DatasetError(f"{path}:{number}: the id {row.id!r} stands twice;", remedy="answers are told apart by it.")
        rows[row.id] = row
    if not rows:
        raise DatasetError(f"{path} holds no rows;", remedy='write lines like {"id": "a", "path": "a.mp4"}.')
    return list(rows.values())


def read_lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with the numbers of their lines.

    Raises:
        DatasetError: no such file, or a line that is no object.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # no other mark ends a line of JSON
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read the manifest {path}: {error};", remedy="give a JSONL file with one row per line.") from error
    return [(number, json_row(line, f"{path}:{number}")) for number, line in enumerate(lines, 1) if line.strip()]


def row_of(raw: dict[str, Any], where: str, number: int, base: Path) -> Row:
    """A row from the object of its line, which is used up.

    Args:
        raw: the object.
        where: file and line, for errors.
        number: of the line, its id where it has none.
        base: folder that paths follow.

    Raises:
        DatasetError: it is not as the format says.
    """
    identity = raw.pop("id", None)
    mark = hashlib.sha256(json.dumps(raw, sort_keys=True).encode()).hexdigest()[:12]
    clips = take_clips(raw, where)
    if not clips.files and not raw.get("question") and not clips.transcript:
        raise DatasetError(f"{where}: names no file;", remedy=f"give one of {', '.join(CLIP_KEYS)}, or words: question, transcript.")
    question = raw.pop("question", None) or ""
    if not isinstance(question, str):
        raise DatasetError(f"{where}: question is {type(question).__name__};", remedy="a string is wanted.")
    placed = tuple((key, path if path.startswith("clip-world://") else str(base / path)) for key, path in clips.files)
    name = str(number if identity is None else identity)
    return Row(id=name, clips=replace(clips, files=placed), question=question, fields=raw, mark=mark)
