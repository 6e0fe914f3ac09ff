"""Rows in the spellings that this project and others read; each is proved by reading it back, where this project reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from unifusion import catalog
from unifusion.conversation import Conversation, Example, Media, Message
from unifusion.datasets._places import Places, media_part, placed
from unifusion.datasets._rows import example_of
from unifusion.errors import DatasetError, UniFusionError, nearest

__all__ = ["FORMS", "plain_row", "row_in"]

_FROM = {"system": "system", "user": "human", "assistant": "gpt"}
Tasks = tuple[tuple[str, Mapping[str, Any]], ...]


def row_in(form: str, example: Example, places: Places, tasks: Tasks = ()) -> Iterator[dict[str, Any]]:
    """A row, or one for each task that asks about it.

    Args:
        form: of FORMS.
        example: what to write.
        places: names its clips.
        tasks: name and options; without one, conversations are those that the row holds.

    Raises:
        ConfigError: there is no such form.
        DatasetError: the form cannot say what the row holds, or the row holds no conversation and nothing asks about it.
    """
    if form not in FORMS:
        raise DatasetError(f"no form {form!r};", remedy=nearest(form, list(FORMS)))
    example = placed(example, places)
    if form == "manifest" or (form == "messages" and not tasks and "messages" in example.labels):
        yield plain_row(example)
        return
    for name, talk in _talks(example, tasks):
        talk = _with_files(talk, places, example.id)
        head = {"id": f"{example.id}/{name}" if len(tasks) > 1 else example.id, "group": example.group, "split": example.split}
        row = {**{k: v for k, v in head.items() if v}, **FORMS[form](talk)}
        _jsonable(row, example.id)
        yield row


def plain_row(example: Example) -> dict[str, Any]:
    """A row of keys and values from which the same example is read; the plainest of four spellings that keeps all of it.

    Clips stand under their kinds, else under `media`; labels among the other keys, else under `labels`; texts too, else under `texts`.

    Raises:
        DatasetError: none keeps it, as of labels that JSON does not have.
    """
    head = {k: v for k, v in (("id", example.id), ("group", example.group), ("split", example.split)) if v}
    labels = {k: v for k, v in example.labels.items() if k != "messages"}
    talk = {"messages": example.labels["messages"]} if "messages" in example.labels else {}
    clips = {"media": [media_part(m) for m in example.media]} if example.media else {}
    for written in (
        {**head, **_flat(example.media), **talk, **example.texts, **labels},
        {**head, **_flat(example.media), **talk, **example.texts, "labels": labels},
        {**head, **clips, **talk, **example.texts, "labels": labels},
        {**head, **clips, **talk, "texts": dict(example.texts), "labels": labels},
    ):
        try:
            row = json.loads(json.dumps(written, allow_nan=False))
            if example_of(row, example.id, "the row", str) == example:
                return row  # type: ignore[no-any-return]
        except (TypeError, ValueError, UniFusionError):  # the next spelling, or none
            continue
    _jsonable(labels, example.id)
    raise DatasetError(
        f"row {example.id!r} cannot be written so that it reads back the same;",
        remedy="its labels must be what JSON has: texts, finite numbers, lists as tuples, keys that are texts.",
    )


def _flat(media: tuple[Media, ...]) -> dict[str, Any]:
    """Clips under their kinds, with the span of the first; whether that says all is seen when it is read back."""
    found: dict[str, Any] = {}
    for kind in ("video", "audio", "image"):
        names = [m.source for m in media if m.kind == kind]
        if names:
            found[kind] = names if len(names) > 1 else names[0]
    if media:
        span = {
            "start_s": media[0].start_s,
            "end_s": media[0].end_s,
            "transcript": next((m.transcript for m in media if m.transcript), None),
        }
        found |= {k: v for k, v in span.items() if v is not None}
    return found


def _with_files(talk: Conversation, places: Places, row: str) -> Conversation:
    """The conversation with clips that it held as base64 as files."""

    def named(part: str | Media) -> str | Media:
        """A part."""
        return replace(part, source=places(part.source, row)) if isinstance(part, Media) and isinstance(part.source, bytes) else part

    return replace(talk, messages=tuple(replace(m, parts=tuple(map(named, m.parts))) for m in talk.messages))


def _talks(example: Example, tasks: Tasks) -> Iterator[tuple[str, Conversation]]:
    """The conversations of a row, with the tasks' names."""
    from unifusion.training.corpus import learnt, talk_of

    if not tasks and "messages" not in example.labels:
        raise DatasetError(f"row {example.id!r} holds no conversation;", remedy="name what asks about it (--task), or write --to manifest.")
    for name, options in tasks or (("", {}),):
        if name:
            talk = catalog.load("tasks", name)(**options).conversation(example, with_answer=True)
        else:
            talk = talk_of(example, "rows")
        learnt(talk, f"row {example.id!r}")
        yield name, talk


def _jsonable(row: Mapping[str, Any], name: str) -> None:
    """Refuse what JSON does not have."""
    try:
        json.dumps(row, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"row {name!r}: {error};", remedy="its labels must be what JSON has.") from error


def _messages(talk: Conversation) -> dict[str, Any]:
    """Ours: roles and content parts, as Hugging Face spells them."""
    return {"messages": [_turn(m, media_part) for m in talk.messages]}


def _openai(talk: Conversation) -> dict[str, Any]:
    """OpenAI's and vLLM's: parts of type video_url, audio_url, image_url; spans as two keys more, which others pass over."""

    def part(media: Media) -> dict[str, Any]:
        """A clip."""
        own = media_part(media)
        kind = f"{own.pop('type')}_url"
        return {"type": kind, kind: {"url": own.pop("path")}, **own}

    return {"messages": [_turn(m, part) for m in talk.messages]}


def _turn(message: Message, part: Callable[[Media], dict[str, Any]]) -> dict[str, Any]:
    """A message; one text alone stands as it is."""
    parts = [part(p) if isinstance(p, Media) else {"type": "text", "text": p} for p in message.parts]
    content: Any = message.parts[0] if len(parts) == 1 and isinstance(message.parts[0], str) else parts
    unlearnt = {"supervised": False} if message.role == "assistant" and not message.supervised else {}
    return {"role": message.role, "content": content, **unlearnt}


def _llamafactory(talk: Conversation) -> dict[str, Any]:
    """LLaMA-Factory's: <video>, <audio> and <image> in the text, files in lists beside it."""
    return {"messages": [{"role": m.role, "content": _tagged(m)} for m in talk.messages], **_files(talk)}


def _sharegpt(talk: Conversation) -> dict[str, Any]:
    """ShareGPT's: from and value, tags and lists as LLaMA-Factory reads them."""
    system = dict.fromkeys(["system"] * (talk.messages[0].role == "system"), _tagged(talk.messages[0]))
    turns = [{"from": _FROM[m.role], "value": _tagged(m)} for m in talk.messages if m.role != "system"]
    return {"conversations": turns, **system, **_files(talk)}


def _tagged(message: Message) -> str:
    """The text of a message with a tag where each clip stands."""
    for part in message.parts:
        if isinstance(part, str) and any(f"<{kind}>" in part for kind in ("video", "audio", "image")):
            raise DatasetError(f"a text holds a tag that would stand for a file: {part[:60]!r};", remedy="write --to messages or openai.")
    return "".join(f"<{p.kind}>" if isinstance(p, Media) else p for p in message.parts)


def _files(talk: Conversation) -> dict[str, Any]:
    """Files by kind; what the lists cannot say is refused, not lost."""
    for media in talk.media:
        if media.start_s is not None or media.end_s is not None or media.mute:
            raise DatasetError(f"{media.name} has a span or is muted, which this form cannot say;", remedy="write --to messages or openai.")
    said = [m.transcript for m in talk.media if m.transcript]
    if len(said) > 1:
        raise DatasetError("several clips have a transcript, which this form cannot say;", remedy="write --to messages.")
    lists = {f"{kind}s": [m.source for m in talk.media if m.kind == kind] for kind in ("video", "audio", "image")}
    return {**{k: v for k, v in lists.items() if v}, **({"transcript": said[0]} if said else {})}


FORMS: dict[str, Callable[[Conversation], dict[str, Any]]] = {
    "messages": _messages, "manifest": _messages, "openai": _openai, "llamafactory": _llamafactory, "sharegpt": _sharegpt,
    "webdataset": _messages,
}  # fmt: skip
"""Form -> a conversation in it."""
