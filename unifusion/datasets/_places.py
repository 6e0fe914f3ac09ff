"""Where the clips of written rows lie: named from the new file, or copied beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from unifusion.conversation import Clip, Example, Media, Mix
from unifusion.errors import DatasetError, MediaError
from unifusion.limits import Limits
from unifusion.media.source import open_source
from unifusion.rows import PART_SOURCES, name_from

__all__ = ["Places", "media_part", "placed"]

_ENDS = {"mov": "mp4", "matroska": "mkv", "jpeg": "jpg", "mpegts": "ts"}
"""Format by its first bytes -> what such files are called, where it is not its own name."""
_CHUNK = 1 << 20


class Places:
    """Names for clips in rows of a file.

    Args:
        folder: of the file that is written; names follow it.
        copy: put every clip under `media/`, called by a hash of its content, so that one is there once.
        keep: put clips there that rows hold themselves; with `copy` it is so.

    Attributes:
        copied: files that are under `media/` by this.
        n_bytes: of those that were written.
    """

    def __init__(self, folder: Path, *, copy: bool = False, keep: bool = False) -> None:
        self.folder, self.copy, self.keep = folder, copy, copy or keep
        self.copied: set[str] = set()
        self.n_bytes = 0
        self._known: dict[str, str] = {}

    def __call__(self, source: Any, row: str) -> str:
        """The name of a clip: relative where it lies below the folder, else absolute.

        Raises:
            DatasetError: the clip is no file, and may not be made one, or is not there to be copied.
        """
        if isinstance(source, Mix | Clip):
            raise DatasetError(f"row {row!r}: its clip is made when it is opened, not a file;", remedy="leave composed parts out.")
        if isinstance(source, bytes):
            if not self.keep:
                raise DatasetError(f"row {row!r} holds its clip itself;", remedy="write it as a file: --copy-media.")
            return self._kept(hashlib.sha256(source).hexdigest(), source, _end_of(source))
        name = str(source)
        if "://" in name:
            return name
        if self.copy:
            if name not in self._known:
                self._known[name] = self._copied(Path(name), row)
            return self._known[name]
        return name_from(self.folder, name)

    def _copied(self, path: Path, row: str) -> str:
        """Copy a file."""
        digest = hashlib.sha256()
        try:
            with open_source(path, Limits()) as source:  # a regular file that is media: nothing else is copied for anybody
                while chunk := source.handle.read(_CHUNK):
                    digest.update(chunk)
        except MediaError as error:
            raise DatasetError(f"row {row!r}: {error.found}", remedy=error.remedy) from error
        return self._kept(digest.hexdigest(), path, path.suffix.lower().lstrip("."))

    def _kept(self, digest: str, content: Path | bytes, end: str) -> str:
        """The name of a file under `media/`; written aside and renamed where it is not there yet."""
        name = f"media/{digest[:20]}.{end}" if end else f"media/{digest[:20]}"
        target = self.folder / name
        self.copied.add(name)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            work = target.with_name(f".{target.name}.tmp")
            if isinstance(content, bytes):
                work.write_bytes(content)
            else:
                shutil.copyfile(content, work)
            os.replace(work, target)
            self.n_bytes += target.stat().st_size
        return name


def _end_of(data: bytes) -> str:
    """What a file of these bytes is called by."""
    with open_source(data, Limits()) as source:
        return _ENDS.get(source.kind.name, source.kind.name)


def placed(example: Example, places: Places) -> Example:
    """An example whose clips, those of its messages too, are named from the new file."""
    media = tuple(replace(m, source=places(m.source, example.id)) for m in example.media)
    messages = example.labels.get("messages")
    if messages is None:
        return replace(example, media=media)
    named = [_message(m, partial(_name, places=places, row=example.id)) for m in messages]
    return replace(example, media=media, labels={**example.labels, "messages": named})


def _message(message: Mapping[str, Any], name: Any) -> dict[str, Any]:
    """A message with the files of its parts named."""
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts = [{k: name(v) if k in PART_SOURCES else v for k, v in p.items()} if isinstance(p, Mapping) else p for p in content]
    return {**message, "content": parts}


def _name(value: Any, places: Places, row: str) -> Any:
    """A file of a part, in whatever spelling it is nested."""
    if isinstance(value, Mapping):
        return {k: _name(v, places, row) if k in ("url", "path") else v for k, v in value.items()}
    if isinstance(value, Media):
        return value
    if isinstance(value, bytes | Clip | Mix | Path) or (isinstance(value, str) and not value.startswith("data:")):
        return places(value, row)
    return value


def media_part(media: Media) -> dict[str, Any]:
    """A clip as a content part with all that is known of it."""
    told: dict[str, Any] = {"start_s": media.start_s, "end_s": media.end_s, "transcript": media.transcript}
    told["at_least_db"] = media.at_least_db
    if media.subtitles:
        lines = [{"start_s": line.start_s, "end_s": line.end_s, "text": line.text} for line in media.subtitles]
        told |= {"subtitles": lines, "words_from": media.words_from or None}
    part: dict[str, Any] = {"type": media.kind, "path": media.source, **{k: v for k, v in told.items() if v is not None}}
    return {**part, "mute": list(media.mute)} if media.mute else part
