"""A conversation about clips that keeps features and the KV cache across turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from unifusion.batch import ModalityReport
from unifusion.conversation import Media
from unifusion.engine.answers import Answer
from unifusion.engine.decoding import Sampling, decode_one, new_cache, text_deltas
from unifusion.errors import ConfigError, LimitError
from unifusion.processor import OpenedMedia, Row
from unifusion.processor.conversing import merge_reports

if TYPE_CHECKING:
    from transformers import DynamicCache

    from unifusion.engine.engine import Engine

__all__ = ["Session"]


class Session:
    """Turns about one or more clips. A second question about the same clip decodes, encodes and prefills nothing again.

    Not for use by two threads at once; make one session per conversation.

    Args:
        engine: where model and processor are.
        system: optional system text.
    """

    def __init__(self, engine: Engine, *, system: str = "") -> None:
        self.engine = engine
        self.system = system
        self.reset()

    def reset(self) -> None:
        """Forget all turns and clips."""
        self.answer: Answer | None = None
        self.row = Row()
        """Every token of the conversation so far, the answers included."""
        self._cache: DynamicCache | None = None
        self._fed = 0
        self._waiting: list[OpenedMedia] = []
        self._turns = 0
        self._spent = {"decode_s": 0.0, "encode_s": 0.0}

    @property
    def report(self) -> ModalityReport:
        """What the clips of this conversation gave."""
        return merge_reports(self.row.media)

    def add(self, media: Media) -> ModalityReport:
        """Open a clip; it is shown with the next question.

        Raises:
            MediaError: it cannot be decoded; the conversation goes on without it.
        """
        if len(self.row.media) + len(self._waiting) >= self.engine.limits.max_media:
            raise LimitError(f"this conversation has {self.engine.limits.max_media} clips already;", remedy="start a new one.")
        opened, spent = self.engine.open(media)
        for key, value in spent.items():
            self._spent[key] += value
        return self.show(opened)

    def show(self, opened: OpenedMedia) -> ModalityReport:
        """The same for a clip that is open already."""
        self._waiting.append(opened)
        return merge_reports([opened])

    def ask(
        self,
        text: str,
        *,
        max_new_tokens: int = 128,
        cancel: threading.Event | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    ) -> Answer:
        """Ask and wait for the whole answer."""
        for _ in self.stream(text, max_new_tokens=max_new_tokens, cancel=cancel, sampling=sampling):
            pass
        if self.answer is None:
            raise ConfigError("the answer was not finished;", remedy="ask again.")
        return self.answer

    def tell(self, text: str, answer: str | Sequence[int]) -> None:
        """Put a turn whose answer is known into the conversation (one restored from a log): nothing is generated, nothing fed yet.

        Args:
            text: the question; clips that wait are shown with it.
            answer: the answer's text, or its token ids as `Answer.ids` holds them.
        """
        self._begin_turn(text)
        self._end_turn(self.engine.processor.text.user(answer) if isinstance(answer, str) else list(answer))

    def stream(
        self,
        text: str,
        *,
        max_new_tokens: int = 128,
        cancel: threading.Event | None = None,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
    ) -> Iterator[str]:
        """Ask and yield the answer as it is made; afterwards `answer` holds the whole of it.

        Closing the generator or setting `cancel` stops at the next token; what was said so far stays in the conversation. An
        error leaves the conversation as it was before the question.
        """
        began = time.perf_counter()
        self.answer = None
        before = (self.row, self._waiting, self._spent)
        spent, self._spent = self._spent, {"decode_s": 0.0, "encode_s": 0.0}
        said: list[int] = []
        timing = dict(spent)
        end_ids = self.engine.processor.end_ids
        finished = False
        try:
            self._begin_turn(text)
            tokens = self._tokens(min(max_new_tokens, self.engine.limits.max_new_tokens), sampling)
            for delta, token in text_deltas(self.engine.processor.tokenizer, tokens, end_ids):
                if "first_token_s" not in timing:
                    timing["first_token_s"] = time.perf_counter() - began + sum(spent.values())
                    timing["prefill_s"] = time.perf_counter() - began
                finished = token in end_ids
                said += [] if finished else [token]
                if delta:
                    yield delta
                if finished:
                    break
                if cancel is not None and cancel.is_set():
                    break
        except GeneratorExit:
            self._end_turn(said)
            raise
        except BaseException:
            self._undo(*before)
            raise
        self._end_turn(said)
        timing["total_s"] = time.perf_counter() - began + sum(spent.values())
        timing["new_tokens"] = float(len(said))
        stopped = cancel is not None and cancel.is_set() and not finished
        text_out = self.engine.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
        self.answer = Answer(text=text_out, report=self.report, timing=timing, stopped=finished, cancelled=stopped, ids=said)

    def _begin_turn(self, text: str) -> None:
        """Append the question, its clips and the generation prompt to the conversation."""
        processor = self.engine.processor
        row = processor.turn(self.row, text, self._waiting, system=self.system)
        room = self.engine.context - len(row.ids)
        if room < 1:
            raise LimitError(
                f"the conversation has {len(row.ids)} tokens, the model takes {self.engine.context};",
                remedy="start a new one, or show a shorter span.",
            )
        self.row, self._waiting = row, []

    @torch.no_grad()
    def _tokens(self, max_new_tokens: int, sampling: Sampling) -> Iterator[int]:
        """Feed what the cache does not hold yet, then yield the answer's tokens."""
        if self._cache is None:
            self._cache, self._fed = new_cache(self.engine.model), 0
        batch = self.engine.processor.collate([self.row], start=self._fed).to(self.engine.model.device)
        room = min(max_new_tokens, self.engine.context - len(self.row.ids))
        self._fed = len(self.row.ids)
        yield from decode_one(
            self.engine.model, batch, self._cache, end_ids=self.engine.processor.end_ids, max_new_tokens=room, sampling=sampling
        )

    def _end_turn(self, said: list[int]) -> None:
        """Write the answer into the conversation; the cache holds all of it but perhaps the last token."""
        self.row.add(said)
        self.row.add(self.engine.processor.text.control(self.engine.processor.format.assistant_end))
        held = self._cache.get_seq_length() if self._cache is not None else 0
        self._fed = min(held, len(self.row.ids))
        self._turns += 1

    def _undo(self, row: Row, waiting: list[OpenedMedia], spent: dict[str, float]) -> None:
        """Take a failed question back: its clips wait for the next one; the cache is made again if anything was fed."""
        if self.row is not row:
            self._cache, self._fed = None, 0
        self.row, self._waiting, self._spent = row, waiting, spent
