"""Who is asked in which words: every phrasing of a prompt equally often, over all rows and among those of one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from unifusion import catalog
from unifusion.conversation import Conversation, Example, Message
from unifusion.instructing.items import Item, key
from unifusion.processor.messages import to_conversation
from unifusion.tasks.task import Task

__all__ = ["conversation_of", "phrasings"]


def phrasings(items: Sequence[Item], seed: int) -> list[int | None]:
    """The number of the phrasing for each item; None for a conversation that the row holds.

    Items of one prompt are laid in order of their source, kind and answer, those alike in an order that the seed decides, and take the
    phrasings in turn. So each is used floor or ceil of n / phrasings times: in all, of each source, kind and answer. No wording then tells
    an answer.
    """
    groups: dict[str, list[int]] = {}
    for n, item in enumerate(items):
        if item.task:
            groups.setdefault(_template_of(item), []).append(n)
    out: list[int | None] = [None] * len(items)
    for name, some in groups.items():
        count = len(_task(items[some[0]]).template.source.phrasings)
        first = key(seed, "first phrasing", name)[0]
        some.sort(key=lambda n: (items[n].part, items[n].kind, items[n].label, key(seed, "phrasing", name, items[n].part, items[n].name)))
        for turn, n in enumerate(some):
            out[n] = (first + turn) % count
    return out


def _template_of(item: Item) -> str:
    """The prompt of an item's task."""
    name: str = catalog.load("tasks", item.task).prompt
    return name


def _task(item: Item, phrasing: int | None = None) -> Task:
    """The task of an item."""
    task: Task = catalog.load("tasks", item.task)(phrasing=phrasing, **item.options)
    return task


def conversation_of(item: Item, phrasing: int | None) -> Conversation:
    """The conversation of an item, its answer supervised.

    Raises:
        UniFusionError: the task cannot ask the row.
    """
    if not item.task:
        return to_conversation(item.row.labels["messages"], id=item.row.id)
    row: Example = replace(item.row, media=tuple(m.muted(*item.mute) for m in item.row.media)) if item.mute else item.row
    talk = _task(item, phrasing).conversation(row, with_answer=not item.answer)
    if item.answer:
        talk = replace(talk, messages=(*talk.messages, Message(role="assistant", parts=(item.answer,), supervised=True)))
    return replace(talk, id=item.name)
