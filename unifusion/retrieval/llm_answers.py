"""Answers of a language model of transformers that neither sees nor hears: it is given the words that are known of the passages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from unifusion.batch import ModalityReport
from unifusion.conversation import Conversation
from unifusion.errors import CheckpointError, ConfigError, LimitError
from unifusion.limits import Limits
from unifusion.processor import Conversing, OpenedMedia, Row
from unifusion.processor.chat_format import ChatFormat
from unifusion.processor.conversing import Batch
from unifusion.processor.text import TextEncoder
from unifusion.retrieval.asked import Said
from unifusion.retrieval.live import Live, whole_characters
from unifusion.retrieval.passages import Passage
from unifusion.retrieval.wording import claims_of, put

__all__ = ["Describes", "LlmAnswers", "words_report"]

Describes = Callable[[Sequence[Passage]], tuple[dict[int, str], dict[int, ModalityReport]]]
"""Writes of each passage what is seen and heard, by its number, and tells what it really saw and heard."""


class _Words(Conversing):
    """Writes conversations of words alone with a tokenizer's own control strings; what people write can never become one.

    Args:
        tokenizer: of the language model.
        limits: of the texts.
    """

    def __init__(self, tokenizer: Any, limits: Limits) -> None:
        self.tokenizer, self.limits = tokenizer, limits
        if getattr(tokenizer, "chat_template", None):
            self.format = ChatFormat.from_tokenizer(tokenizer)
        else:  # a model that only goes on with a text
            first, end = tokenizer.bos_token or "", tokenizer.eos_token or "\n"
            self.format = ChatFormat(
                first=first, system=first, system_to_user="\n", user_to_assistant="\nAnswer: ", assistant_end=end, next_user="\n"
            )
        self.text = TextEncoder(tokenizer)

    def add_media(self, row: Row, clip: OpenedMedia, number: int | None) -> None:
        """There are no clips.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a language model takes no clips;", remedy="give it words.")

    def collate(self, rows: Sequence[Row], *, side: Literal["left", "right"] = "right", start: int = 0) -> Batch:
        """One row as ids (1, S)."""
        ids = torch.tensor([rows[0].ids[start:]])
        return Batch({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


@dataclass(frozen=True, kw_only=True)
class LlmAnswers:
    """A causal language model: made by `load`.

    Attributes:
        model: of transformers.
        words: writes for it.
        label: what to call it.
        max_new_tokens: longest answer.
        describes: writes what is seen and heard, for passages; None gives it the known words alone.
        longest_s: longest passage.
    """

    model: Any
    words: _Words
    label: str
    max_new_tokens: int = 256
    describes: Describes | None = None
    longest_s: float = 60.0

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", limits: Limits = Limits(), **options: Any) -> LlmAnswers:
        """Load a folder, or a name on the hub, from safetensors; no code of it is run.

        Raises:
            CheckpointError: it cannot be loaded, or has no tokenizer.
        """
        from transformers import AutoTokenizer

        from unifusion.models.language_model import load_language_model

        model = load_language_model(folder).to(device).eval()
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            found = f"{folder} has no tokenizer: {str(error).strip().splitlines()[0]};"
            raise CheckpointError(found, remedy="copy the files of its tokenizer beside its weights.") from error
        return cls(model=model, words=_Words(tokenizer, limits), label=Path(folder).name, **options)

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.label}, from words alone"

    def answer(self, question: str, passages: Sequence[Passage], live: Live | None = None) -> Said:
        """Answer from what is known of the passages in words. `live` hears the answer as it is made.

        Raises:
            LimitError: not even the best passage fits into what the model can read.
        """
        told, reports = self.describes(passages) if self.describes is not None else ({}, {})
        row, shown = self._fitting(question, passages, told)
        notes = [] if shown == len(passages) else [f"the model has room for {shown} of {len(passages)} windows; the others were left out"]
        text, ended = self._generated(row, live)
        notes += [] if ended else ["the answer was cut at the longest that was allowed"]
        return Said(claims=claims_of(text), report=words_report(passages[:shown], told), reports=reports, notes=notes)

    def _fitting(self, question: str, passages: Sequence[Passage], told: Mapping[int, str]) -> tuple[Row, int]:
        """The longest prompt that leaves room for an answer, and how many passages are in it; the least relevant go first."""
        length = getattr(self.model.config, "max_position_embeddings", None) or self.words.limits.max_tokens
        room = min(int(length), self.words.limits.max_tokens) - self.max_new_tokens
        for shown in range(len(passages), 0, -1):
            talk: Conversation = put(question, passages[:shown], described=told)
            row = self.words.row(talk, opened=[], generate=True)
            if len(row.ids) <= room:
                return row, shown
        raise LimitError(
            f"the best window and the question have {len(row.ids)} tokens, {self.label} takes {max(room, 0)} beside its answer;",
            remedy="allow a shorter answer (--max-new-tokens), or take a model with more context.",
        )

    @torch.no_grad()
    def _generated(self, row: Row, live: Live | None = None) -> tuple[str, bool]:
        """The greedy answer, and whether it ended by itself."""
        from transformers import GenerationConfig

        batch = self.words.collate([row]).to(self.model.device)
        ends = self.words.end_ids
        greedy = GenerationConfig(
            max_new_tokens=self.max_new_tokens, do_sample=False, eos_token_id=ends, pad_token_id=ends[0], max_length=None
        )
        listening = {} if live is None else {"streamer": _Tells(live, self.words.tokenizer), "stopping_criteria": [_stops(live)]}
        ids = self.model.generate(**batch, generation_config=greedy, **listening)[0, len(row.ids) :].tolist()
        ended = bool(ids) and (ids[-1] in ends or (live is not None and live.cancel.is_set()))
        text = str(self.words.tokenizer.decode(ids, skip_special_tokens=True)).strip()
        if live is not None:
            live.hears(0, text, True)
        return text, ended


class _Tells:
    """What transformers calls a streamer: is put the prompt, then each token.

    Args:
        live: hears the text so far.
        tokenizer: of the model.
    """

    def __init__(self, live: Live, tokenizer: Any) -> None:
        self.live, self.tokenizer = live, tokenizer
        self.ids: list[int] | None = None

    def put(self, value: torch.Tensor) -> None:
        """Hear the next token; what comes first is the prompt."""
        if self.ids is None:
            self.ids = []
            return
        self.ids += value.reshape(-1).tolist()
        text = str(self.tokenizer.decode(self.ids, skip_special_tokens=True))
        self.live.hears(0, whole_characters(text).strip(), False)

    def end(self) -> None:
        """Nothing: the whole answer is told by who has it."""


def _stops(live: Live) -> Callable[..., torch.Tensor]:
    """What transformers calls a stopping criterion (B,) bool."""
    return lambda ids, scores, **_: torch.full((len(ids),), live.cancel.is_set(), device=ids.device)


def words_report(passages: Sequence[Passage], told: Mapping[int, str]) -> ModalityReport:
    """What a generator that reads words was shown."""
    known = sum(bool(p.texts) for p in passages)
    notes = ["the generator saw no picture and heard no sound", f"words were known of {known} of {len(passages)} windows"]
    if told:
        notes.append(f"a chat model wrote what is seen and heard in {sum(p.number in told for p in passages)} of them")
    return ModalityReport(notes=notes)
