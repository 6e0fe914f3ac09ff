"""Messages as Hugging Face and OpenAI spell them -> Conversation."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.conversation import Clip, Conversation, Media, Message, Part
from unifusion.errors import ConfigError
from unifusion.rows import PART_KINDS, take_lines

__all__ = ["to_conversation"]


def to_conversation(messages: Sequence[Mapping[str, Any]], *, id: str = "") -> Conversation:
    """Read a list of `{"role", "content"}` dicts; assistant messages are marked supervised, unless they say `supervised: false`.

    Raises:
        ConfigError: a role or part is not understood; quotes it.
    """
    out = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise ConfigError(f"a message is {message!r};", remedy='write {"role": "user", "content": ..}.')
        role = message.get("role")
        if role not in ("system", "user", "assistant"):
            raise ConfigError(f"a message has the role {role!r};", remedy="use system, user or assistant.")
        content = message.get("content", "")
        if not isinstance(content, str | list | tuple):
            raise ConfigError(f"a {role} message has the content {content!r};", remedy="give a text or a list of parts.")
        parts: tuple[Part, ...] = (content,) if isinstance(content, str) else tuple(_part(p) for p in content)
        if role != "user" and any(isinstance(p, Media) for p in parts):
            raise ConfigError(f"media in a {role} message;", remedy="put clips into user messages.")
        out.append(Message(role=role, parts=parts, supervised=role == "assistant" and message.get("supervised") is not False))
    return Conversation(messages=tuple(out), id=id)


def _part(part: Mapping[str, Any] | str) -> Part:
    """One content part."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise ConfigError(f"a content part is {part!r};", remedy='write {"type": "text", "text": ..}, or a clip.')
    kind = str(part.get("type", ""))
    if kind in ("text", "input_text"):
        said = part.get("text", "")
        if not isinstance(said, str):
            raise ConfigError(f"a text part holds {said!r};", remedy="give a text.")
        return said
    if kind not in PART_KINDS:
        raise ConfigError(f"a content part has the type {kind!r};", remedy=f"use text, {', '.join(PART_KINDS)}.")
    spelled = ("path", "url", kind, PART_KINDS[kind], f"{PART_KINDS[kind]}_url", "data", "base64")
    found = next((k for k in spelled if part.get(k) is not None), None)
    if found is None:
        raise ConfigError(f"a {kind} part names no file (keys: {sorted(part)});", remedy='give "path".')
    source = _source(part[found], kind, encoded=found in ("data", "base64"))
    return Media(
        kind=PART_KINDS[kind], source=source, start_s=_seconds(part, "start"), end_s=_seconds(part, "end"), mute=_mute(part),
        transcript=_said(part), at_least_db=_level(part),
        subtitles=(lines := take_lines(part.get("subtitles"), f"a {kind} part")),
        words_from=str(part.get("words_from") or "") if lines else "",
    )  # fmt: skip


def _said(part: Mapping[str, Any]) -> str | None:
    """What is said in a clip."""
    value = part.get("transcript")
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"a part has the transcript {value!r};", remedy="give a text.")
    return value or None


def _level(part: Mapping[str, Any]) -> float | None:
    """The level that soft sound of a clip is raised to."""
    value = part.get("at_least_db")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not -120 <= value <= 0):
        raise ConfigError(f"a part has the at_least_db {value!r};", remedy="give decibels of full scale, from -120 to 0.")
    return value


def _seconds(part: Mapping[str, Any], key: str) -> float | None:
    """A time of a part: `start` or, as rows have it, `start_s`."""
    value = part.get(key) if part.get(key) is not None else part.get(f"{key}_s")
    try:
        seconds = None if value is None else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"a part has the {key} {value!r};", remedy="give seconds as a number.") from error
    if seconds is not None and not 0 <= seconds < math.inf:
        raise ConfigError(f"a part has the {key} {value!r};", remedy="give seconds from 0 on.")
    return seconds


def _mute(part: Mapping[str, Any]) -> tuple[str, ...]:
    """Modalities a part leaves out: one name or several."""
    value = part.get("mute") or ()
    names = tuple(value) if isinstance(value, list | tuple) else (value,)
    wrong = [n for n in names if n not in ("video", "audio", "image", "text")]
    if wrong:
        raise ConfigError(f"a part mutes {wrong[0]!r};", remedy="mute video, audio, image or text.")
    return names


def _source(value: Any, kind: str, *, encoded: bool = False) -> str | Path | bytes | Clip:
    """A path, data: URL, base64 (where the key says so), bytes, arrays or a picture of Pillow."""
    if isinstance(value, Mapping):
        encoded = not (value.get("url") or value.get("path")) and bool(value.get("data"))
        value = value.get("url") or value.get("path") or value.get("data") or ""
    if hasattr(value, "convert"):  # PIL.Image.Image
        value = np.asarray(value.convert("RGB"))
    if isinstance(value, np.ndarray):
        return _arrays(value, kind)
    if isinstance(value, bytes | Path | Clip):
        return value
    if not isinstance(value, str) or not value:
        raise ConfigError(
            f"a {kind} part holds {type(value).__name__} {str(value)[:40]!r};", remedy="give a path, bytes, a data: URL or an array."
        )
    return _text_source(value, kind, encoded)


def _text_source(value: str, kind: str, encoded: bool) -> str | bytes:
    """A path, or the bytes that a data: URL or base64 holds."""
    if value.startswith("data:"):
        head, _, value = value.partition(",")
        if not head.endswith(";base64"):
            raise ConfigError(f"a {kind} part holds the URL {head[:40]!r}, which is not base64;", remedy="encode the bytes with base64.")
        encoded = True
    if encoded:
        try:
            return base64.b64decode(value, validate=True)
        except ValueError as error:  # binascii.Error is one; letters beyond ASCII are another
            raise ConfigError(f"a {kind} part holds data that is not base64: {error};", remedy="encode the bytes with base64.") from error
    if value.startswith("file://"):
        return value.removeprefix("file://")
    if "://" in value and not value.startswith("clip-world://"):
        raise ConfigError(f"{value[:80]!r} is a network address; nothing is fetched;", remedy="download the file and give its path.")
    return value


def _arrays(value: np.ndarray, kind: str) -> Clip:
    """Arrays as transformers users pass them: (T, H, W, 3) or (H, W, 3) uint8 pictures at 25 a second, or (N,) sound at 16 kHz."""
    if value.ndim == 1 and kind != "image":
        return Clip(waveform_N=value.astype(np.float32), duration_s=len(value) / 16_000)
    if value.ndim in (3, 4) and value.shape[-1] == 3 and value.dtype == np.uint8:
        frames = value if value.ndim == 4 else value[None]
        return Clip(frames_THWC=frames, frame_times_s=np.arange(len(frames)) / 25.0, duration_s=len(frames) / 25.0)
    raise ConfigError(
        f"a {kind} array of shape {value.shape} and type {value.dtype};", remedy="give uint8 (T, H, W, 3) or float (N,) at 16 kHz."
    )
