"""One row of plain keys and values as an Example: whole conversations, or a clip and fields that a task asks about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from unifusion.conversation import Example, Media, MediaKind
from unifusion.errors import DatasetError
from unifusion.rows import PART_KINDS, PART_SOURCES, speaking, take_clips

__all__ = ["KINDS", "example_of", "kind_of_name"]

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


def example_of(
    row: Mapping[str, Any], name: str, where: str, source: Callable[[str], Source], held: Sequence[Media] = ()
) -> Example:  # fmt: skip
    """Read a row.

    Args:
        row: `messages` as Hugging Face and OpenAI spell them, or files under `path`, `video`, `audio`, `image` beside other keys:
            strings are texts that a prompt may show, the rest are labels. `id`, `group` and `split` are what they say; `start_s` and
            `end_s` are the span of the files, `transcript` what is said in them, or in the clip of the messages that has sound, and
            `subtitles` the same with its times in the file.
        name: the row's id where it has none.
        where: how errors call it.
        source: file name to what is opened.
        held: clips that the row holds itself, which come first.

    Raises:
        DatasetError: messages are no list, a file's name is none, or a time is no number.
    """
    fields = dict(row)
    ident, group, split = (str(fields.pop(key, None) or "") for key in ("id", "group", "split"))
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
    return Example(id=ident or name, group=group, split=split, media=media, texts=_texts(fields), labels={**_labels(fields), **told})


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
    if not isinstance(value, str) or "://" in value or value.startswith("data:"):
        return value
    return source(value)


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """The strings."""
    return {k: v for k, v in fields.items() if isinstance(v, str)}


def _labels(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Everything else; strings too, since a label often is one."""
    return {k: v for k, v in fields.items() if v is not None}
