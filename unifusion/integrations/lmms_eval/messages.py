"""What lmms-eval's tasks show a model -> Conversation: chat messages, or the list of media and the text of simple tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from unifusion.conversation import Clip, Conversation
from unifusion.datasets._rows import KINDS
from unifusion.errors import ConfigError
from unifusion.processor.messages import to_conversation

__all__ = ["conversation_of", "messages_of"]


def conversation_of(messages: Sequence[Mapping[str, Any]], name: str) -> Conversation:
    """Read messages as `doc_to_messages` gives them: parts of the types text, image, video and audio, whose file is `url`.

    A file is a path, a `data:` URL, a picture of Pillow, an array, or a row of `datasets` (`path` or `bytes`, or `array` with
    `sampling_rate`). Spans are `start_time` and `end_time`, in simple tasks `video_start` and `video_end`; `transcript` is what is said.

    Raises:
        ConfigError: messages are no list, or a part cannot be read; names the request.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ConfigError(f"{name}: doc_to_messages gives {messages!r:.80};", remedy="wanted a list of messages.")
    try:
        return to_conversation([_message(m) for m in messages], id=name)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.found}", remedy=error.remedy) from error


def messages_of(media: Any, text: str) -> list[dict[str, Any]]:
    """One user message of a simple task's `doc_to_visual` and its text; the media come first, as in lmms-eval's own adapter.

    Raises:
        ConfigError: a medium whose kind nothing tells.
    """
    shown = [] if media is None else list(media) if isinstance(media, list | tuple) else [media]
    parts = [{"type": _kind(one), "url": one} for one in shown]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def _kind(medium: Any) -> str:
    """What a medium of a simple task is: by its type or, of a path, by the name's end; other paths are videos, as in lmms-eval."""
    if hasattr(medium, "convert"):
        return "image"
    if isinstance(medium, Mapping):
        return "audio" if "array" in medium or "sampling_rate" in medium else str(medium.get("type", "video"))
    if isinstance(medium, str | PurePath):
        return KINDS.get(PurePath(medium).suffix[1:].lower(), "video")
    raise ConfigError(f"a simple task shows {type(medium).__name__};", remedy="wanted pictures of Pillow, paths, or rows of datasets.")


def _message(message: Any) -> Any:
    """One message with its parts as `to_conversation` reads them."""
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), list | tuple):
        return message
    return {**message, "content": [_part(p) for p in message["content"]]}


def _part(part: Any) -> Any:
    """One part with its file under `url`, decoded sound as a clip, and its span as `start` and `end`."""
    if not isinstance(part, Mapping) or part.get("type") == "text":
        return part
    value = part.get("url")
    inner = value if isinstance(value, Mapping) else {}
    span = {
        key: next((d[k] for d in (part, inner) for k in names if d.get(k) is not None), None)
        for key, names in {"start": ("start_time", "start", "video_start"), "end": ("end_time", "end", "video_end")}.items()
    }
    return {**{k: part[k] for k in ("type", "transcript", "mute", "at_least_db") if k in part}, **span, "url": _source(value, inner)}


def _source(value: Any, inner: Mapping[str, Any]) -> Any:
    """What is opened."""
    if "array" in inner:
        waveform_N = np.asarray(inner["array"], dtype=np.float32)
        rate_hz = int(inner.get("sampling_rate") or 16_000)
        mono_N = waveform_N.mean(axis=0) if waveform_N.ndim == 2 else waveform_N
        return Clip(waveform_N=mono_N, sampling_rate_hz=rate_hz, duration_s=len(mono_N) / rate_hz)
    if inner:
        return next((inner[k] for k in ("bytes", "url", "path", "video", "audio", "image") if inner.get(k) is not None), None)
    return value
