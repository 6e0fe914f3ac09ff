"""LangChain messages as turns of a session: texts, and clips from standard content blocks.

| block | clip |
|---|---|
| `{"type": "video", "url": "talk.mp4"}` | a file of this machine, as a path or `file://`; nothing is fetched from a network |
| `{"type": "audio", "base64": .., "mime_type": ..}` | the bytes; what they are follows from their header |
| `"extras": {"start_s": 3, "end_s": 5, "transcript": ".."}` | the span, and what is said in it |

OpenAI's `image_url` (as a data URL) and `input_audio` arrive as such blocks too: langchain-core translates them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from unifusion.conversation import Media, MediaKind
from unifusion.errors import ConfigError, LimitError
from unifusion.limits import Limits

__all__ = ["Turn", "media_of", "turns_of"]

_KINDS: dict[str, MediaKind] = {"video": "video", "audio": "audio", "image": "image"}
_EXTRAS = ("start_s", "end_s", "transcript")


@dataclass(kw_only=True)
class Turn:
    """What was asked with which clips, and the answer; None where it is awaited."""

    texts: list[str] = field(default_factory=list)
    media: list[Media] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    @property
    def question(self) -> str:
        """The texts, a line each."""
        return "\n".join(self.texts)

    @property
    def answer(self) -> str | None:
        """The answers, a line each."""
        return "\n".join(self.answers) if self.answers else None


def turns_of(messages: Sequence[BaseMessage], *, limits: Limits, media_folder: Path | None = None) -> tuple[str, list[Turn]]:
    """The system's text, and turns of which the last awaits its answer; messages of one role in a row are one.

    Raises:
        ConfigError: a role, a tool's call or a content block that this model does not take, or nothing is asked at the end.
        LimitError: media above the limit of bytes.
    """
    system: list[str] = []
    turns: list[Turn] = []
    for message in messages:
        if isinstance(message, SystemMessage):
            system.append(message.text)
        elif isinstance(message, HumanMessage):
            if not turns or turns[-1].answers:
                turns.append(Turn())
            _read(message, turns[-1], limits, media_folder)
        elif isinstance(message, AIMessage) and not message.tool_calls:
            turns = turns or [Turn()]
            turns[-1].answers.append(message.text)
        else:
            raise ConfigError(
                f"a message of the type {message.type!r}{' that calls tools' if isinstance(message, AIMessage) else ''};",
                remedy="this model takes system, human and AI messages without tools.",
            )
    if not turns or turns[-1].answers:
        raise ConfigError("nothing is asked;", remedy="end with a human message.")
    return "\n".join(system), turns


def _read(message: HumanMessage, turn: Turn, limits: Limits, media_folder: Path | None) -> None:
    """Add a message's texts and clips to a turn."""
    for block in message.content_blocks:
        told: Mapping[str, Any] = block
        if told["type"] in ("text", "text-plain") and isinstance(told.get("text"), str):
            turn.texts.append(told["text"])
        elif told["type"] in _KINDS:
            turn.media.append(media_of(told, limits=limits, media_folder=media_folder))
        else:
            kind = told["value"].get("type") if told["type"] == "non_standard" else told["type"]
            raise ConfigError(f"a content block of the type {kind!r};", remedy=f"give text, {', '.join(_KINDS)}, by base64 or file.")


def media_of(block: Mapping[str, Any], *, limits: Limits, media_folder: Path | None = None) -> Media:
    """The clip of a content block.

    Raises:
        ConfigError: neither base64 nor a file of this machine (inside `media_folder`, where there is one), or extras that do not exist.
        LimitError: it is larger than the limit.
    """
    extras = dict(block.get("extras") or {})
    if unknown := sorted(set(extras) - set(_EXTRAS)):
        raise ConfigError(f"extras {', '.join(unknown)} of a content block;", remedy=f"there are {', '.join(_EXTRAS)}.")
    if "base64" in block:
        source: str | bytes = _decoded(block["base64"], limits)
    elif "url" in block:
        source = _file(str(block["url"]), limits, media_folder)
    else:
        raise ConfigError(f"a content block of the type {block['type']!r} without media;", remedy="give base64, or url with a path.")
    return Media(kind=_KINDS[block["type"]], source=source, **extras)


def _decoded(text: str, limits: Limits) -> bytes:
    """The bytes of base64."""
    if len(text) * 3 // 4 > limits.max_bytes:
        raise LimitError(f"media of {len(text) * 3 // 4} bytes, the limit is {limits.max_bytes};", remedy="give a shorter clip.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"a content block's base64 cannot be read: {error};", remedy="encode the file's bytes alone.") from error


def _file(url: str, limits: Limits, media_folder: Path | None) -> str | bytes:
    """The path of a URL, or the bytes of a data URL."""
    parts = urlsplit(url)
    if parts.scheme == "data" and ";base64," in url:
        return _decoded(url.split(";base64,", 1)[1], limits)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise ConfigError(f"{url[:100]!r} is not fetched;", remedy="download it and give its path, or give base64.")
    path = Path(unquote(parts.path) if parts.scheme else url)
    if media_folder is not None and not path.resolve().is_relative_to(media_folder.resolve()):
        raise ConfigError(f"{str(path)!r} lies outside {str(media_folder)!r};", remedy="give a file of that folder, or base64.")
    return str(path)
