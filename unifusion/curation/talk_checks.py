"""Whether a row teaches what it seems to: its conversation or its task's, its texts, its tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from unifusion import catalog
from unifusion.conversation import Conversation, Example
from unifusion.curation.media_checks import Found
from unifusion.errors import UniFusionError
from unifusion.limits import Limits
from unifusion.share import resolve_checkpoint

if TYPE_CHECKING:
    from unifusion.processor import UniFusionProcessor

__all__ = ["TalkChecks", "context_of", "processor_of"]

_ANSWERS = ("answer", "caption", "description", "rationale")
_CONTROL = re.compile(r"<\|[A-Za-z][\w-]{0,40}\|>|<(?:video|audio|image)>|</s>")
"""What chat formats and placeholders look like, where no model says which it has."""
_FOLLOWS = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}


@lru_cache(maxsize=1)
def processor_of(model: str) -> UniFusionProcessor:
    """The processor of a checkpoint; its weights are not read.

    Raises:
        CheckpointError: it is none.
    """
    from unifusion.checkpoint import check_folder
    from unifusion.processor import UniFusionProcessor

    folder = resolve_checkpoint(model)
    check_folder(folder)
    found: UniFusionProcessor = UniFusionProcessor.from_pretrained(folder)
    return found


@lru_cache(maxsize=1)
def context_of(model: str) -> int:
    """Tokens that a checkpoint's language model was made for, and that a conversation may have."""
    import json

    raw = json.loads((resolve_checkpoint(model) / "config.json").read_text(encoding="utf-8"))
    told = (raw.get("text_config") or {}).get("max_position_embeddings")
    return min(int(told), Limits.max_tokens) if isinstance(told, int) else Limits.max_tokens


@dataclass(frozen=True, kw_only=True)
class TalkChecks:
    """What rows are to be learned by.

    Attributes:
        tasks: name and options of those that ask about rows; without one, rows hold conversations or are taken as they are.
        model: checkpoint whose tokens are counted and whose control tokens texts may not spell out; "" has neither.
        max_tokens: of a conversation; 0 takes the model's own.
        decode: make each row as training makes it, its clips decoded.
    """

    tasks: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    model: str = ""
    max_tokens: int = 0
    decode: bool = False

    def __call__(self, example: Example) -> Iterator[Found]:
        """What is wrong with the words of one row."""
        for key in _ANSWERS:
            if key in example.texts and not example.texts[key].strip():
                yield "empty_answer", f"{key} is empty;", "leave the row out, or write it.", "error"
        longest = max((len(text) for text in example.texts.values()), default=0)
        if longest > Limits.max_text_chars:
            yield "too_long", f"a text of {longest} characters, at most {Limits.max_text_chars} are read;", "shorten it.", "error"
        for talk in self._talks(example):
            yield from [talk] if isinstance(talk, tuple) else self._talk(talk)

    def _talks(self, example: Example) -> Iterator[Conversation | Found]:
        """The conversations that training could make of a row, or why it can make none."""
        from unifusion.training.corpus import learnt, talk_of

        if not self.tasks and "messages" not in example.labels and "conversations" not in example.labels:
            return
        for name, options in self.tasks or ((None, {}),):
            try:
                if name is None:
                    talk = talk_of(example, "rows")
                else:
                    talk = catalog.load("tasks", name)(**options).conversation(example, with_answer=True)
                learnt(talk, "it")
                yield talk
            except UniFusionError as error:
                kind = "empty_answer" if "empty answer" in error.found else "no_answer" if "no answer" in error.found else ""
                yield kind or ("messages" if name is None else "task"), error.found, error.remedy, "error"

    def _talk(self, talk: Conversation) -> Iterator[Found]:
        """One conversation."""
        before = ""
        for message in talk.messages:
            if message.role not in _FOLLOWS[before]:
                found = f"a message of {message.role} cannot follow {before or 'the start'};"
                yield "turns", found, "use an optional system message, then user and assistant in turns.", "error"
                return
            before = message.role
        if len(talk.media) > Limits.max_media:
            yield "too_long", f"{len(talk.media)} clips, at most {Limits.max_media} are read;", "make several rows of it.", "error"
        texts = [p for m in talk.messages for p in m.parts if isinstance(p, str)]
        longest = max(map(len, texts), default=0)
        if longest > Limits.max_text_chars:
            yield "too_long", f"a text of {longest} characters, at most {Limits.max_text_chars} are read;", "shorten it.", "error"
            return
        if self.model:
            yield from self._tokens(talk)
        elif spelled := next((f for text in texts if (f := _CONTROL.search(text))), None):
            remedy = "take it out, or see with --model whether it is one of your model's."
            yield "control", f"a text spells out {spelled[0]!r}, as a control token or a placeholder looks;", remedy, "warning"

    def _tokens(self, talk: Conversation) -> Iterator[Found]:
        """Control tokens and the length of a conversation, by the model."""
        from unifusion.training.corpus import plain

        processor, most = processor_of(self.model), self.max_tokens or context_of(self.model)
        try:
            plain(talk, processor)
        except UniFusionError as error:
            yield "control", error.found, error.remedy, "error"
            return
        if self.decode:
            try:
                processor.fit(talk, most)
            except UniFusionError as error:
                yield "training", error.found, error.remedy, "error"
            return
        answers, rest = 0, 0
        for message in talk.messages:
            count = sum(len(processor.text.user(p)) for p in message.parts if isinstance(p, str))
            answers, rest = (answers + count, rest) if message.supervised else (answers, rest + count)
        if answers >= most:
            yield "too_long", f"answers of {answers} tokens, the context is {most};", "split the conversation into several rows.", "error"
        elif answers + rest > most:
            found = f"{answers + rest} tokens of text, the context is {most}: questions will be cut;"
            yield "cut", found, "split the conversation, or train with more tokens.", "warning"
