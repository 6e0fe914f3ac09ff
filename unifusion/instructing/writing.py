"""Conversations as rows that the reader `messages` reads, and hashes of what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Conversation, Example, Media
from unifusion.errors import DatasetError
from unifusion.rows import name_from

__all__ = ["Clips", "part_of_message", "row_hash", "spelled_out"]

_MARKS = ("<video>", "<audio>", "<image>")
_ENDS = {"matroska": "mkv", "mov": "mp4", "mpegts": "ts", "jpeg": "jpg"}
"""Ends of files whose format is called otherwise."""


class Clips:
    """How rows name their clips: below the folder that is written, relative to it; elsewhere by the whole path.

    Clips that lie inside shards and tables are written to files under `clips/`, called by their content.

    Args:
        folder: where the rows are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def name(self, media: Media) -> str:
        """The name of a clip's file.

        Raises:
            DatasetError: the clip is arrays, which no row can name.
        """
        if isinstance(media.source, bytes):
            return self._written(media.source)
        if not isinstance(media.source, str | Path):
            raise DatasetError(f"{media.name} is made when it is opened;", remedy="such clips have no file that a row could name.")
        if str(media.source).startswith("clip-world://"):
            return str(media.source)
        return name_from(self.folder, media.source)

    def _written(self, raw: bytes) -> str:
        """The file of a clip that was given as bytes; written once."""
        from unifusion.media.sniff import sniff_head

        kind = sniff_head(raw[:4096])
        if kind is None:
            raise DatasetError(f"{len(raw)} bytes are no picture or sound that is known;", remedy="convert the clip.")
        name = f"clips/{hashlib.sha256(raw).hexdigest()[:32]}.{_ENDS.get(kind.name, kind.name)}"
        path = self.folder / name
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            work = path.with_suffix(".part")
            work.write_bytes(raw)
            work.replace(path)
        return name


def part_of_message(media: Media, name: str) -> dict[str, Any]:
    """A clip as a content part: its file and all that belongs to it."""
    told = {
        "type": media.kind, "path": name, "start_s": media.start_s, "end_s": media.end_s, "mute": list(media.mute) or None,
        "transcript": media.transcript, "at_least_db": media.at_least_db,
    }  # fmt: skip
    return {key: value for key, value in told.items() if value is not None}


def spelled_out(talk: Conversation, clips: Clips) -> list[dict[str, Any]]:
    """Messages as OpenAI and Hugging Face spell them; a text that holds a mark such as <video> is a part, where it stays text."""
    out: list[dict[str, Any]] = []
    for message in talk.messages:
        parts = [part_of_message(p, clips.name(p)) if isinstance(p, Media) else {"type": "text", "text": p} for p in message.parts]
        row: dict[str, Any] = {"role": message.role, "content": parts}
        if message.role != "user" and not any(mark in message.text for mark in _MARKS):
            row["content"] = message.text
        out.append(row if message.role != "assistant" or message.supervised else {**row, "supervised": False})
    return out


def row_hash(rows: Iterable[Example]) -> str:
    """What rows say, as a hash: ids, groups, texts, labels, and the names and spans of their clips, but not the folders these lie in."""
    digest = hashlib.sha256()
    for row in rows:
        told = [row.id, row.group, row.split, [_named(m) for m in row.media], _plain(row.texts), _plain(row.labels)]
        digest.update(json.dumps(told, sort_keys=True, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _named(media: Media) -> list[Any]:
    """A clip without its folder; one that is no file by its content."""
    if isinstance(media.source, bytes):
        name = hashlib.sha256(media.source).hexdigest()
    else:
        name = str(media.source) if str(media.source).startswith("clip-world://") else Path(media.name).name
    return [media.kind, name, media.start_s, media.end_s, sorted(media.mute), media.transcript]


def _plain(value: Any) -> Any:
    """A label without the folders of files that messages in it name."""
    if isinstance(value, Mapping):
        return {str(k): Path(v).name if k == "path" and isinstance(v, str) else _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value
