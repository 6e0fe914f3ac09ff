"""Keys of a row, a message and a content part, and those that are nearly one of them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

from unifusion.rows import CLIP_KEYS, PART_KINDS, PART_SOURCES

__all__ = ["misspelt", "tags_and_files"]

_ROW = frozenset((
    *CLIP_KEYS, "id", "group", "split", "messages", "media", "start_s", "end_s", "transcript", "labels", "label", "text", "question",
    "answer", "answers", "caption", "captions", "description", "options", "option", "type", "types", "emotion", "emotions", "rationale",
    "sentiment", "valence", "arousal", "sound", "sounds", "subtitles", "speaker", "listener", "language", "history", "metadata", "checker",
    "tolerance", "conversations", "conversation", "query", "response", "system", "videos", "audios", "images", "input_audio",
    "input_video", "input_image", "mute", "weight", "source", "tools", "texts",
))  # fmt: skip
_MESSAGE = frozenset(("role", "content", "from", "value", "name", "loss", "weight", "supervised", "human", "assistant", "tool_calls"))
_PART = frozenset((*PART_KINDS, *PART_SOURCES, "type", "text", "data", "base64", "start", "end", "start_s", "end_s", "mute", "transcript"))
_SPANS = {"start": "start_s", "begin": "start_s", "start_time": "start_s", "end": "end_s", "stop": "end_s", "end_time": "end_s"}
_NEAR = 0.84
"""Likeness (difflib) from which a key is taken for a slip: `mesages`, `transcipt`, `rol`; `video_id` (0.77) is a word of its own."""
_TAGS = ("video", "audio", "image")


@lru_cache(maxsize=4096)
def _near(key: str, known: frozenset[str]) -> str:
    """The known key that a key is nearly, "" where it is one, or none is near."""
    if key in known:
        return ""
    folded = key.lower().strip().replace("-", "_")
    if folded in known:
        return folded
    if folded.rstrip("0123456789_") in known:  # emotion8, caption_2: others of its kind
        return ""
    return next(iter(difflib.get_close_matches(folded, known, n=1, cutoff=_NEAR)), "")


def misspelt(row: Mapping[str, Any], allowed: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """(key, the key that it is nearly) of a row, its messages and their parts.

    Args:
        row: the object of a line.
        allowed: keys that are meant as they are.
    """
    told = [(key, near) for key in row if (near := _near(key, _ROW))]
    if "start_s" not in row and "end_s" not in row and any(key in row for key in CLIP_KEYS):
        told += [(key, near) for key, near in _SPANS.items() if isinstance(row.get(key), int | float)]
    messages = row.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        told += [(key, near) for key in message if (near := _near(key, _MESSAGE))]
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            told += [(key, near) for key in part if (near := _near(key, _PART))] if isinstance(part, dict) else []
    yield from ((key, near) for key, near in dict.fromkeys(told) if key not in allowed)


def tags_and_files(row: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """(kind, tags such as <video>, files) where a conversation has not as many of both; texts beside named parts are not looked at."""
    turns = next((row[key] for key in ("messages", "conversations") if isinstance(row.get(key), list)), ())
    said = [t.get("content", t.get("value")) for t in turns if isinstance(t, dict) and t.get("role", t.get("from")) in ("user", "human")]
    if not said or not all(isinstance(text, str) for text in said):
        return
    files = {kind: sum(_count(row.get(key)) for key in (f"{kind}s", kind, f"input_{kind}")) for kind in _TAGS}
    tags = {kind: sum(str(text).count(f"<{kind}>") for text in said) for kind in _TAGS}
    others = [kind for kind in _TAGS if files[kind]]
    if tags["image"] and sum(tags.values()) == tags["image"] and len(others) == 1:  # LLaVA's video sets write <image> for their videos
        tags = {**dict.fromkeys(_TAGS, 0), others[0]: tags["image"]}
    yield from ((kind, tags[kind], files[kind]) for kind in _TAGS if tags[kind] != files[kind])


def _count(value: Any) -> int:
    """Files under a key."""
    return len(value) if isinstance(value, list) else int(isinstance(value, str) and bool(value))
