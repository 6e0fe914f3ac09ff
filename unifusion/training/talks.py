"""Training conversations over one clip: several questions behind one shared prefix, each blind to the others, or one talk of turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from unifusion.conversation import Conversation
from unifusion.errors import DatasetError
from unifusion.processor import Row, UniFusionProcessor
from unifusion.processor.processor import IGNORED

__all__ = ["Turn", "TurnsRow", "collate_turns", "told_turns", "turns_row"]

Turn = tuple[str, str]
"""(question, answer)"""


@dataclass(kw_only=True)
class TurnsRow:
    """A row with the number of the turn each token belongs to; 0 is the shared prefix.

    With `apart`, a turn sees the prefix and itself only, and its positions go on from the prefix: the loss equals that of one
    conversation per question, at the cost of one prefix. Without it, turns follow each other as in a chat.
    """

    row: Row
    turns: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    apart: bool = True


def turns_row(processor: UniFusionProcessor, prefix: Row, turns: Sequence[Turn], *, apart: bool, limit: int = 0) -> TurnsRow:
    """Put turns behind a prefix (control string and media, no question yet); answers are supervised.

    Args:
        processor: tokenises; user text cannot become control here either.
        prefix: as `media_prefix` or `text_prefix` gives it.
        turns: at least one question and answer.
        apart: see TurnsRow.
        limit: most tokens in all; turns that do not fit are left out (the first always stays).
    """
    out = TurnsRow(row=Row(ids=list(prefix.ids), labels=list(prefix.labels), media=prefix.media, id=prefix.id), apart=apart)
    length = len(prefix.ids)
    out.turns = [0] * length
    out.positions = list(range(length))
    text, form = processor.text, processor.format
    for number, (question, answer) in enumerate(turns, 1):
        one = Row()
        if number > 1 and not apart:
            one.add(text.control(form.next_user))
        one.add(text.user(question))
        one.add(text.control(form.user_to_assistant))
        one.add(text.user(answer), supervised=True)
        one.add(text.control(form.assistant_end), supervised=True)
        if limit and number > 1 and len(out.row.ids) + len(one.ids) > limit:
            break
        start = length if apart else len(out.row.ids)
        out.row.ids += one.ids
        out.row.labels += one.labels
        out.turns += [number] * len(one.ids)
        out.positions += range(start, start + len(one.ids))
    return out


def told_turns(talk: Conversation) -> list[Turn]:
    """The turns of a conversation whose clips all stand before its first question; a system message stands in front of that question.

    Raises:
        DatasetError: a clip stands elsewhere, or not every question has one supervised answer.
    """
    said = [m for m in talk.messages if m.role != "system"]
    clips = [n for n, part in enumerate(said[0].parts if said else ()) if not isinstance(part, str)]
    if len(clips) != len(talk.media) or clips != list(range(len(clips))):
        raise DatasetError(f"conversation {talk.id}: a clip stands behind a text;", remedy="put the clips in front, or train it by tune.")
    if [m.role for m in said] != ["user", "assistant"] * (len(said) // 2) or not all(m.supervised for m in said[1::2]) or not said:
        raise DatasetError(f"conversation {talk.id}: wanted questions with one answer each;", remedy="mend it, or train it by tune.")
    told = "\n".join(m.text for m in talk.messages if m.role == "system")
    turns = [(asked.text, answer.text) for asked, answer in zip(said[::2], said[1::2], strict=True)]
    return [(f"{told}\n{turns[0][0]}", turns[0][1]), *turns[1:]] if told else turns


def media_prefix(processor: UniFusionProcessor, media: Sequence[Any], name: str = "") -> Row:
    """The control string before the first user and the clips, opened."""
    row = Row(media=list(media), id=name)
    row.add(processor.text.control(processor.format.first))
    for number, clip in enumerate(media, 1):
        processor.add_media(row, clip, number if len(media) > 1 else None)
    return row


def text_prefix(processor: UniFusionProcessor, text: str, name: str = "") -> Row:
    """The control string before the first user and a text."""
    row = Row(id=name)
    row.add(processor.text.control(processor.format.first))
    row.add(processor.text.control(text))
    return row


def collate_turns(processor: UniFusionProcessor, rows: Sequence[TurnsRow]) -> dict[str, Any]:
    """Pad to one batch with a mask (B, 1, S, S), True where a token may look, and positions (B, S)."""
    longest = max(len(r.row.ids) for r in rows)
    ids = torch.full((len(rows), longest), processor.tokenizer.pad_token_id, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    turns = torch.full((len(rows), longest), -1, dtype=torch.long)
    positions = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, r in enumerate(rows):
        n = len(r.row.ids)
        ids[i, :n] = torch.tensor(r.row.ids)
        labels[i, :n] = torch.tensor(r.row.labels)
        turns[i, :n] = torch.tensor(r.turns) if r.apart else 0
        positions[i, :n] = torch.tensor(r.positions)
    same = turns[:, :, None] == turns[:, None, :]
    prefix = (turns == 0)[:, None, :]
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    mask = (same | prefix) & causal & (turns >= 0)[:, None, :]
    mask |= torch.eye(longest, dtype=torch.bool)  # padding looks at itself, so that no softmax is empty
    return {
        "input_ids": ids, "labels": labels, "position_ids": positions, "attention_mask": mask[:, None],
        "media": processor.media([r.row for r in rows]),
    }  # fmt: skip
