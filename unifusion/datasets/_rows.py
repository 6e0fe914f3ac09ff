"""One row of plain keys and values as an Example: whole conversations, or a clip and fields that a task asks about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from unifusion.conversation import Example, Media, MediaKind
from unifusion.errors import DatasetError

__all__ = ["KINDS", "example_of", "kind_of_name"]

KINDS: dict[str, MediaKind] = {
    **dict.fromkeys(("mp4", "mkv", "webm", "avi", "mov", "m4v", "mpg", "mpeg", "ts", "flv", "3gp"), "video"),
    **dict.fromkeys(("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"), "audio"),
    **dict.fromkeys(("jpg", "jpeg", "png", "webp", "bmp", "gif"), "image"),
}  # fmt: skip
"""What a file is by the end of its name; its header has the last word when it is opened."""
_MEDIA_KEYS = ("path", "video", "audio", "image")
_PART_KEYS = ("path", "url", "video", "audio", "image", "video_url", "audio_url", "image_url")

Source = str | bytes


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


def example_of(row: Mapping[str, Any], name: str, where: str, source: Callable[[str], Source]) -> Example:
    """Read a row.

    Args:
        row: `messages` as Hugging Face and OpenAI spell them, or files under `path`, `video`, `audio`, `image` beside other keys:
            strings are texts that a prompt may show, the rest are labels. `id`, `group` and `split` are what they say.
        name: the row's id where it has none.
        where: how errors call it.
        source: file name to what is opened.

    Raises:
        DatasetError: messages are no list, or a file's name is none.
    """
    fields = dict(row)
    ident, group, split = (str(fields.pop(key, None) or "") for key in ("id", "group", "split"))
    ident = ident or name
    if "messages" in fields:
        messages = _messages(fields.pop("messages"), where, source)
        labels = {**_labels(fields), "messages": messages}
        return Example(id=ident, group=group, split=split, texts=_texts(fields), labels=labels)
    start_s, end_s = fields.pop("start_s", None), fields.pop("end_s", None)
    said = fields.get("transcript") if isinstance(fields.get("transcript"), str) else None
    media = tuple(
        Media(kind=_kind(key, one, where), source=source(one), start_s=start_s, end_s=end_s, transcript=said)
        for key in _MEDIA_KEYS
        for one in _files(fields.pop(key, None), key, where)
    )
    return Example(id=ident, group=group, split=split, media=media, texts=_texts(fields), labels=_labels(fields))


def _kind(key: str, name: str, where: str) -> MediaKind:
    """What a file under a key is."""
    known: dict[str, MediaKind] = {"video": "video", "audio": "audio", "image": "image"}
    return known[key] if key in known else kind_of_name(name, where)


def _files(value: Any, key: str, where: str) -> list[str]:
    """Names of no file, one or several."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(n, str) and n for n in names):
        raise DatasetError(f"{where}: {key} is {value!r};", remedy="give a file's name, or a list of them.")
    return names


def _messages(value: Any, where: str, source: Callable[[str], Source]) -> list[dict[str, Any]]:
    """Messages with the files of their parts resolved."""
    if not isinstance(value, list) or not all(isinstance(m, dict) for m in value):
        raise DatasetError(f"{where}: messages are {type(value).__name__};", remedy='write [{"role": "user", "content": ..}, ..].')
    return [{**m, "content": [_part(p, source) for p in m["content"]]} if isinstance(m.get("content"), list) else m for m in value]


def _part(part: Any, source: Callable[[str], Source]) -> Any:
    """A content part; the name of its file is resolved."""
    if not isinstance(part, dict):
        return part
    return {k: _resolved(v, source) if k in _PART_KEYS else v for k, v in part.items()}


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
