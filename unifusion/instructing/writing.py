"""Conversations as rows that the reader `messages` reads, and hashes of what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion.conversation import Conversation, Example, Media
from unifusion.datasets._places import Places, media_part

__all__ = ["row_hash", "spelled_out"]

_MARKS = ("<video>", "<audio>", "<image>")


def spelled_out(talk: Conversation, places: Places) -> list[dict[str, Any]]:
    """Messages as OpenAI and Hugging Face spell them; a text that holds a mark such as <video> is a part, where it stays text.

    Raises:
        DatasetError: a clip that no file holds or can be written from.
    """
    out: list[dict[str, Any]] = []
    for message in talk.messages:
        parts = [
            media_part(replace(p, source=places(p.source, talk.id))) if isinstance(p, Media) else {"type": "text", "text": p}
            for p in message.parts
        ]
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
