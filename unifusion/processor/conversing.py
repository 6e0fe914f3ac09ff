"""From a Conversation to one row of ids, whatever model reads it: turns, control strings, limits, padding."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from transformers import BatchFeature

from unifusion.batch import ModalityReport, StreamReport
from unifusion.conversation import Conversation, Media, Message
from unifusion.errors import ConfigError, LimitError
from unifusion.limits import Limits
from unifusion.processor.chat_format import ChatFormat
from unifusion.processor.fitting import Fitted, Piece
from unifusion.processor.opening import OpenedMedia
from unifusion.processor.text import TextEncoder

__all__ = ["IGNORED", "Batch", "Conversing", "Row", "check_limits", "merge_reports", "padded"]

IGNORED = -100
"""Label of a position that is not supervised."""


class Batch(BatchFeature):
    """What the model takes: `input_ids`, `attention_mask`, `labels` (B, S), `media` (stream -> StreamBatch).

    `reports` has one ModalityReport per row; it is an attribute, not an entry, so `model(**batch)` works.
    """

    reports: list[ModalityReport]

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move all tensors, those of `media` too, which transformers' own passes over; floats alone take another type."""
        self.data = {k: _moved(v, args, kwargs) for k, v in self.items()}
        return self


def _moved(value: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A tensor moved by transformers' rule, or a mapping of them; anything else as it is."""
    if isinstance(value, Mapping):
        return {k: _moved(v, args, kwargs) for k, v in value.items()}
    return BatchFeature({"value": value}).to(*args, **kwargs)["value"]


@dataclass(kw_only=True)
class Row:
    """One conversation as ids, before padding."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    media: list[OpenedMedia] = field(default_factory=list)
    id: str = ""
    starts: list[int] = field(default_factory=list)
    """Where in `ids` the tokens of each clip begin."""
    fitted: Fitted | None = None
    """What was left out so that the row is short enough; None where nothing was, or nobody asked."""

    def add(self, ids: list[int], *, supervised: bool = False) -> None:
        """Append ids; ids and labels grow together."""
        self.ids += ids
        self.labels += ids if supervised else [IGNORED] * len(ids)

    def append(self, piece: Piece) -> None:
        """Append a piece of a conversation."""
        if piece.clip is not None:
            self.starts.append(len(self.ids))
        self.add(piece.ids, supervised=piece.supervised)

    @property
    def report(self) -> ModalityReport:
        """What the row's clips gave, and what was left out to fit."""
        report = merge_reports(self.media)
        report.notes += [self.fitted.note] if self.fitted is not None and self.fitted.note else []
        return report

    def since(self, start: int) -> Row:
        """What lies at position `start` and after; a clip that begins before it is left out."""
        shown = [n for n, first in enumerate(self.starts) if first >= start]
        return Row(
            ids=self.ids[start:], labels=self.labels[start:], media=[self.media[n] for n in shown], id=self.id,
            starts=[self.starts[n] - start for n in shown],
        )  # fmt: skip


class Conversing:
    """Writes conversations for one language model, segment by segment: a control string, a text, a clip.

    What a model does with clips is left to those who derive from this.
    """

    tokenizer: Any
    text: TextEncoder
    format: ChatFormat
    limits: Limits
    opener: Any

    @abstractmethod
    def add_media(self, row: Row, clip: OpenedMedia, number: int | None) -> None:
        """Append the tokens of one clip, and to `row.starts` where they begin; `number` is told when there are several."""

    @abstractmethod
    def collate(self, rows: Sequence[Row], *, side: Literal["left", "right"] = "right", start: int = 0) -> Batch:
        """Pad rows, from position `start` on, into one batch with the media shown there."""

    @property
    def end_ids(self) -> list[int]:
        """Ids that end an answer: the first id of `assistant_end` and the tokenizer's own end."""
        ids = self.text.control(self.format.assistant_end)[:1]
        end = self.tokenizer.eos_token_id
        return list(dict.fromkeys([*ids, *([end] if end is not None else [])]))

    def use(self, *, limits: Limits | None = None, isolate: bool | None = None, strict: bool | None = None) -> Self:
        """Set this door's limits and way of decoding; returns self."""
        self.limits = limits or self.limits
        self.opener.limits = self.limits
        self.opener.isolate = self.opener.isolate if isolate is None else isolate
        self.opener.strict = self.opener.strict if strict is None else strict
        return self

    def with_opener(self, opener: Any) -> Self:
        """A shallow copy that opens clips another way (from a feature store)."""
        other = copy.copy(self)
        other.opener = opener
        return other

    def open(self, media: Media) -> OpenedMedia:
        """Decode and preprocess one clip for every stream."""
        opened: OpenedMedia = self.opener.open(media)
        return opened

    def row(self, conversation: Conversation, *, opened: Sequence[OpenedMedia] | None = None, generate: bool = False) -> Row:
        """Turn one conversation into ids and labels.

        Args:
            conversation: media may stand anywhere among the parts of user messages.
            opened: its media, already opened, in order; opened here when None.
            generate: end with the generation prompt.

        Raises:
            LimitError: too much media, text or tokens; names the conversation.
            ConfigError: the roles do not follow each other as a talk does.
        """
        check_limits(conversation, self.limits)
        clips = list(opened) if opened is not None else [self.open(m) for m in conversation.media]
        row = Row(media=clips, id=conversation.id)
        for piece in self.pieces(conversation, generate=generate):
            if piece.clip is None:
                row.append(piece)
            else:
                self.add_media(row, clips[piece.clip], piece.clip + 1 if len(clips) > 1 else None)
        if len(row.ids) > self.limits.max_tokens:
            raise LimitError(
                f"conversation {conversation.id or '(unnamed)'} has {len(row.ids)} tokens, the limit is {self.limits.max_tokens};",
                remedy="show a shorter span of the clip or ask in fewer words.",
            )
        return row

    def pieces(self, conversation: Conversation, *, generate: bool = False) -> Iterator[Piece]:
        """The parts of a conversation as ids, in order; a clip has its number and no ids.

        Raises:
            ConfigError: the roles do not follow each other as a talk does.
        """
        used, before = 0, ""
        for turn, message in enumerate(conversation.messages):
            yield Piece(ids=self.text.control(self._prefix(before, message.role, conversation.id)))
            for part in message.parts:
                if isinstance(part, Media):
                    yield Piece(clip=used)
                    used += 1
                    continue
                if message.role == "user":
                    yield Piece(ids=self.text.control(self.format.before_text))
                if message.supervised:
                    yield Piece(ids=self.text.user(part), supervised=True)
                else:
                    yield Piece(ids=self.text.user(part), text=part, role=message.role, turn=turn)
            if message.role == "assistant":
                yield Piece(ids=self.text.control(self.format.assistant_end), supervised=message.supervised)
            before = message.role
        if generate:
            yield Piece(ids=self.text.control(self.format.user_to_assistant))

    def turn(self, row: Row, text: str, opened: Sequence[OpenedMedia] = (), *, system: str = "") -> Row:
        """Return `row` with one more user turn (its clips first) and the generation prompt; `row` itself is left alone.

        Clips are numbered in the order they came once a conversation has more than one.
        """
        if len(text) > self.limits.max_text_chars:
            raise LimitError(f"a text of {len(text)} characters, the limit is {self.limits.max_text_chars};", remedy="shorten it.")
        new = Row(ids=list(row.ids), labels=list(row.labels), media=[*row.media, *opened], id=row.id, starts=list(row.starts))
        before = "assistant" if row.ids else ""
        if system and not row.ids:
            new.add(self.text.control(self._prefix("", "system", "")))
            new.add(self.text.user(system))
            before = "system"
        new.add(self.text.control(self._prefix(before, "user", "")))
        for number, clip in enumerate(opened, len(row.media) + 1):
            self.add_media(new, clip, number if len(new.media) > 1 else None)
        new.add(self.text.control(self.format.before_text))
        new.add(self.text.user(text))
        new.add(self.text.control(self.format.user_to_assistant))
        return new

    def _prefix(self, before: str, role: str, name: str) -> str:
        """The control string between the last role and this one."""
        f = self.format
        table = {
            ("", "user"): f.first, ("", "system"): f.first if f.system is None else f.system,
            ("system", "user"): "\n" if f.system is None else f.system_to_user,
            ("user", "assistant"): f.user_to_assistant, ("assistant", "user"): f.next_user,
        }  # fmt: skip
        if (before, role) not in table:
            raise ConfigError(
                f"conversation {name or '(unnamed)'}: a {role} message cannot follow {before or 'the start'};",
                remedy="use an optional system message, then user and assistant in turns.",
            )
        return table[before, role]

    def messages(self, media: Sequence[Media], text: str) -> Conversation:
        """One user turn: the clips, then the question."""
        return Conversation(messages=(Message(role="user", parts=(*media, text)),))


def padded(rows: Sequence[Row], pad_id: int, side: Literal["left", "right"]) -> dict[str, torch.Tensor]:
    """Return `input_ids`, `attention_mask` and `labels` (B, S) of some rows."""
    longest = max((len(r.ids) for r in rows), default=0)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        where = slice(longest - len(row.ids), longest) if side == "left" else slice(0, len(row.ids))
        ids[i, where] = torch.tensor(row.ids, dtype=torch.long)
        labels[i, where] = torch.tensor(row.labels, dtype=torch.long)
        mask[i, where] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def check_limits(conversation: Conversation, limits: Limits) -> None:
    """Refuse what is above the limits before anything is opened.

    Raises:
        LimitError: too many clips, or too long a text; names the conversation.
    """
    name = f"{conversation.id}: " if conversation.id else ""
    if len(conversation.media) > limits.max_media:
        raise LimitError(
            f"{name}{len(conversation.media)} clips in one conversation, the limit is {limits.max_media};",
            remedy="ask about fewer at once.",
        )
    longest = max((len(p) for m in conversation.messages for p in m.parts if isinstance(p, str)), default=0)
    if longest > limits.max_text_chars:
        raise LimitError(f"{name}a text of {longest} characters, the limit is {limits.max_text_chars};", remedy="shorten it.")


def merge_reports(clips: Sequence[OpenedMedia]) -> ModalityReport:
    """Sum the reports of several clips; one clip's is taken as it is."""
    report = ModalityReport()
    for clip in clips:
        report.notes += [n if len(clips) == 1 else f"{clip.media.name}: {n}" for n in clip.notes]
        report.words += [clip.words] if clip.words is not None else []
        for name, found in clip.reports.items():
            total = report.streams.setdefault(name, StreamReport(modality=found.modality, present=False, reason=found.reason))
            if found.present:
                total.present, total.reason = True, found.reason
            for key in ("seconds", "frames", "samples", "tokens", "cropped_s"):
                setattr(total, key, getattr(total, key) + getattr(found, key))
    if len(clips) > 1:
        report.clips = [{"source": c.media.name, "streams": {n: vars(r) for n, r in c.reports.items()}} for c in clips]
    return report
