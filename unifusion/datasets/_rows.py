"""One row of plain keys and values as an Example: whole conversations, or a clip and fields that a task asks about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from unifusion.conversation import Example, Media, MediaKind
from unifusion.datasets._spellings import spelled
from unifusion.errors import DatasetError
from unifusion.rows import PART_KINDS, PART_SOURCES, are_parts, speaking, take_clips

__all__ = ["KINDS", "example_of", "is_of", "kind_of_name"]

KINDS: dict[str, MediaKind] = {
    **dict.fromkeys(("mp4", "mkv", "webm", "avi", "mov", "m4v", "mpg", "mpeg", "ts", "flv", "3gp"), "video"),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"), "audio"),
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "bmp", "gif"), "image"),
}  # fmt: skip
"""What a file is by the end of its name; its header has the last word when it is opened."""

Source = str | bytes
_WORDS = ("transcript", "subtitles", "words_from")


def kind_of_name(name: str, where: str) -> MediaKind:
    """What a file is by its name.

    Raises:
        DatasetError: the name does not tell.
    """
    kind = KINDS.get(PurePath(name).suffix[1:].lower())
    if kind is None:
        raise DatasetError(
            f"{where}: {name!r} does not say whether it is a video, a sound or a picture;",
            remedy="give it under the key video, audio or image.",
        )
    return kind


def is_of(line: bytes, split: str) -> bool:
    """Whether a row belongs to a split; one that says nothing of it belongs to all."""
    if b'"split"' not in line:
        return True
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # told, with its number, by who reads the row
        return True
    told = row.get("split") if isinstance(row, dict) else None
    return not isinstance(told, str) or told in ("", split)


def example_of(
    row: Mapping[str, Any], name: str, where: str, source: Callable[[str], Source], held: Sequence[Media] = (),
    bare_marks: bool = False,
) -> Example:  # fmt: skip
    """Read a row.

    Args:
        row: a conversation in any spelling of `_spellings`, or files under `path`, `video`, `audio`, `image` beside other keys:
            strings are texts that a prompt may show, the rest are labels. `id`, `group` and `split` are what they say; `start_s` and
            `end_s` are the span of the files, `transcript` what is said in them, or in the clip of the messages that has sound, and
            `subtitles` the same with its times in the file. `media` are parts as messages have them, each with its own span and words.
            Where `labels` are keys and values, strings beside them are texts alone, and lists are tuples; `texts` that are keys
            and values are texts.
        name: the row's id where it has none.
        where: how errors call it.
        source: file name to what is opened.
        held: clips that the row holds itself, which come first, or stand where its conversation has marks for them.
        bare_marks: see `_spellings.spelled`.

    Raises:
        DatasetError: messages are no list, a file's name is none, marks and files do not match, or a time is no number.
    """
    kinds: tuple[MediaKind, ...] = ("video", "audio", "image")
    sources = {kind: [m.source for m in held if m.kind == kind] for kind in kinds}
    fields, shown = spelled(row, where, held=sources, bare_marks=bare_marks)
    held = [m for m in held if m.kind not in shown]
    ident, group, split = (_word(fields.pop(key, None), key, where) for key in ("id", "group", "split"))
    parts = fields.pop("media") if are_parts(fields.get("media")) else ()
    said = {k: v for k, v in fields.pop("texts").items() if isinstance(v, str)} if isinstance(fields.get("texts"), Mapping) else {}
    apart = {k: _tuples(v) for k, v in fields.pop("labels").items()} if isinstance(fields.get("labels"), Mapping) else None
    told = {"messages": _messages(fields.pop("messages"), where, source)} if "messages" in fields else {}
    clips = take_clips({k: fields.get(k) for k in _WORDS} if told else fields, where)
    spoken = {k: fields[k] for k in _WORDS if fields.get(k)} if clips.transcript or clips.subtitles else {}
    if told and spoken and not held:
        told = {"messages": _said_in(told["messages"], spoken)}
    named = [Media(kind=_kind(key, one, where), source=_resolved(one, source)) for key, one in clips.files]
    voice = speaking([*(m.kind for m in held), *(key for key, _ in clips.files)])
    media = tuple(
        replace(
            m, start_s=clips.start_s, end_s=clips.end_s, transcript=clips.transcript if n == voice else None,
            subtitles=clips.subtitles if n == voice else (), words_from=clips.words_from if n == voice else "",
        )
        for n, m in enumerate([*held, *named])
    )
    media += tuple(_clip(part, where, source) for part in parts)
    labels = _labels(fields)
    if apart is not None:
        labels = {**{k: _tuples(v) for k, v in labels.items() if not isinstance(v, str)}, **apart}
    return Example(id=ident or name, group=group, split=split, media=media, texts={**_texts(fields), **said}, labels={**labels, **told})


def _word(value: Any, key: str, where: str) -> str:
    """A name or a number as a word; "" for none."""
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return "" if value is None else str(value)
    raise DatasetError(f"{where}: {key} is {value!r};", remedy="give a word or a number.")


def _clip(part: Mapping[str, Any], where: str, source: Callable[[str], Source]) -> Media:
    """A clip with a span, words and muted modalities of its own."""
    fields = {"path": part.get("path"), **{key: part.get(key) for key in ("start_s", "end_s", *_WORDS)}}
    clips, mute, level = take_clips(fields, where), part.get("mute") or [], part.get("at_least_db")
    if len(clips.files) != 1 or not isinstance(mute, list) or not all(m in ("video", "audio", "image", "text") for m in mute):
        raise DatasetError(f"{where}: the clip {dict(part)!r};", remedy='write {"type": "video", "path": "a.mp4", "mute": ["audio"]}.')
    if level is not None and (not isinstance(level, int | float) or isinstance(level, bool)):
        raise DatasetError(f"{where}: at_least_db is {level!r};", remedy="a number of decibels is wanted.")
    return Media(
        kind=PART_KINDS[part["type"]], source=_resolved(clips.files[0][1], source), start_s=clips.start_s, end_s=clips.end_s,
        mute=tuple(mute), transcript=clips.transcript, at_least_db=level, subtitles=clips.subtitles, words_from=clips.words_from,
    )  # fmt: skip


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _kind(key: str, name: str, where: str) -> MediaKind:
    """What a file under a key is."""
    known: dict[str, MediaKind] = {"video": "video", "audio": "audio", "image": "image"}
    return known[key] if key in known else kind_of_name(name, where)


def _messages(value: Any, where: str, source: Callable[[str], Source]) -> list[dict[str, Any]]:
    """Messages with the files of their parts resolved."""
    if not isinstance(value, list) or not all(isinstance(m, dict) for m in value):
        raise DatasetError(f"{where}: messages are {type(value).__name__};", remedy='write [{"role": "user", "content": ..}, ..].')
    return [{**m, "content": [_part(p, source) for p in m["content"]]} if isinstance(m.get("content"), list) else m for m in value]


def _said_in(messages: list[dict[str, Any]], said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Messages whose clip with sound, or else the first, is told what is said; as they are where a part tells, or none is a clip."""
    parts = [p for m in messages if isinstance(m.get("content"), list) for p in m["content"]]
    clips = [p for p in parts if isinstance(p, dict) and str(p.get("type")) in PART_KINDS]
    if not clips or any(p.get("transcript") or p.get("subtitles") for p in clips):
        return messages
    voice = clips[speaking([PART_KINDS[p["type"]] for p in clips])]
    out = []
    for m in messages:
        content = m.get("content")
        voiced = [{**p, **said} if p is voice else p for p in content] if isinstance(content, list) else content
        out.append({**m, "content": voiced})
    return out


def _part(part: Any, source: Callable[[str], Source]) -> Any:
    """A content part; the name of its file is resolved."""
    if not isinstance(part, dict):
        return part
    return {k: _resolved(v, source) if k in PART_SOURCES else v for k, v in part.items()}


def _resolved(value: Any, source: Callable[[str], Source]) -> Any:
    """A file's name, in whatever spelling it is nested."""
    if isinstance(value, dict):
        return {k: _resolved(v, source) if k in ("url", "path") else v for k, v in value.items()}
    if not isinstance(value, str) or value.startswith("data:") or ("://" in value and not value.startswith("file://")):
        return value
    return source(value.removeprefix("file://"))


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The strings."""
    return {k: v for k, v in fields.items() if isinstance(v, str)}


def _labels(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Everything else; strings too, since a label often is one."""
    return {k: v for k, v in fields.items() if v is not None}
