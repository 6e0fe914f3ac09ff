"""Answers of a chat model that sees and hears the passages: each asked by itself, or all in one conversation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from unifusion.batch import ModalityReport
from unifusion.conversation import Conversation, Media, Message
from unifusion.engine import Engine
from unifusion.engine.answers import LabelScores
from unifusion.engine.decoding import decode_batch
from unifusion.engine.labels import score_batch
from unifusion.errors import ConfigError, LimitError, MediaError, nearest
from unifusion.processor import OpenedMedia, Row
from unifusion.processor.conversing import merge_reports
from unifusion.retrieval.asked import Claim, Said
from unifusion.retrieval.live import Live, whole_characters
from unifusion.retrieval.passages import Passage, quoted
from unifusion.retrieval.wording import claims_of, put

__all__ = ["WORDS", "ChatAnswers", "describe"]

WORDS = ("none", "transcript", "all")

_LEAST_SHARE = 0.05
_BATCH = 8


@dataclass(frozen=True)
class _Shown:
    """A passage that could be opened, as a prompt."""

    passage: Passage
    row: Row


@dataclass(frozen=True, kw_only=True)
class ChatAnswers:
    """A chat model, ours or another's.

    A small model answers one clip at a time far better than several at once, so each passage is asked by itself unless told otherwise.
    What they answer is weighed as RAG-Sequence does (Lewis et al., 2020): p(answer) = sum over passages of p(passage) p(answer | passage),
    with p(passage) from the retriever and p(answer | passage) the likelihood under the passage among all that was answered. Each answer is
    a claim that cites the passages which gave it.

    Attributes:
        engine: the model.
        label: what to call it.
        together: show all passages in one conversation and ask for citations; for models that were trained on several clips.
        words: which of the known words stand before the question: `none`, `transcript` (what is said), `all`, or "" for `all` when
            together and `transcript` when each by itself: of 250 questions on held-out clip world the shipped model answers 0.89
            from the clip, 0.88 with its transcript as well, and 0.64 with a true caption as well.
        max_new_tokens: longest answer.
        least_share: claims that are less likely are not said, the most likely one excepted.
    """

    engine: Engine
    label: str = ""
    together: bool = False
    words: str = ""
    max_new_tokens: int = 64
    least_share: float = _LEAST_SHARE

    def __post_init__(self) -> None:
        if self.words and self.words not in WORDS:
            raise ConfigError(f"cannot show the words {self.words!r};", remedy=nearest(self.words, list(WORDS)))

    def _known(self, passage: Passage) -> dict[str, str]:
        """Words of a passage that are shown."""
        wanted = self.words or ("all" if self.together else "transcript")
        return {k: v for k, v in passage.texts.items() if wanted == "all" or (wanted == "transcript" and k == "transcript")}

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.label or 'chat model'}, {'all windows together' if self.together else 'each window by itself'}"

    @property
    def longest_s(self) -> float:
        """What its model sees of a clip."""
        return float(self.engine.processor.opener.max_seconds)

    def answer(self, question: str, passages: Sequence[Passage], live: Live | None = None) -> Said:
        """Answer from the clips themselves. `live` hears all windows by their numbers, or the one answer over them together.

        Raises:
            MediaError: none of them can be opened.
            LimitError: together they are more than the model takes.
        """
        return self._of_all(question, passages, live) if self.together else self._of_each(question, passages, live)

    def _media(self, passage: Passage) -> Media:
        """The clip of a passage."""
        return passage.media(limits=self.engine.limits, isolate=self.engine.processor.opener.isolate)

    def _asked(self, question: str, passage: Passage) -> str:
        """The question about one passage, behind what is known of it."""
        texts = {kind: quoted(words) for kind, words in self._known(passage).items()}
        said = texts.pop("transcript", "")
        known = [f"{quoted(kind)}: {words}" for kind, words in texts.items()]
        return "\n".join([*known, f'Somebody says: "{said}" {question}' if said else question])

    def _of_each(self, question: str, passages: Sequence[Passage], live: Live | None) -> Said:
        """Every passage answers; the answers are weighed."""
        shown, notes = self._opened(question, passages)
        if live is not None:
            for number in {p.number for p in passages} - {s.passage.number for s in shown}:
                live.hears(number, "", True)
        found = [one for some in _batches(shown) for one in self._generated(some, live, [s.passage.number for s in some])]
        texts = list(dict.fromkeys(text for text, _ in found if text))
        if silent := [s.passage.number for s, (text, _) in zip(shown, found, strict=True) if not text]:
            notes.append(f"nothing was said of window {', '.join(map(str, silent))}")
        if not all(ended for _, ended in found):
            notes.append("an answer was cut at the longest that was allowed")
        rows = [s.row for s in shown]
        model, processor = self.engine.model, self.engine.processor
        scored = [s for some in _batches(rows) for s in score_batch(model, processor, some, [texts] * len(some))] if texts else []
        claims = self._weighed(texts, [text for text, _ in found], shown, scored)
        said = [c for n, c in enumerate(claims) if n == 0 or (c.share or 0.0) >= self.least_share]
        reports = {s.passage.number: s.row.report for s in shown}
        return Said(
            claims=said, unsaid=claims[len(said) :], apart=True, notes=notes, reports=reports, report=_sum(rows),
        )  # fmt: skip

    def _opened(self, question: str, passages: Sequence[Passage]) -> tuple[list[_Shown], list[str]]:
        """Prompts of the passages that can be opened, and what is wrong with the others."""
        shown: list[_Shown] = []
        notes: list[str] = []
        errors: list[MediaError] = []
        for passage in passages:
            try:
                media = self._media(passage)
                opened = self.engine.open(media)[0]
                try:
                    row = self._row(media, opened, self._asked(question, passage))
                except LimitError:
                    row = self._row(media, opened, question)
                    notes.append(f"the words of window {passage.number} were left out: they are longer than the model can read")
                shown.append(_Shown(passage, row))
            except MediaError as error:
                errors.append(error)
                notes.append(f"window {passage.number} was left out: {error}")
        if not shown:
            raise errors[0]
        return shown, notes

    def _row(self, media: Media, opened: OpenedMedia, text: str) -> Row:
        """A prompt about one clip.

        Raises:
            LimitError: it is longer than the model can read.
        """
        talk = Conversation(messages=(Message(role="user", parts=(media, text)),), id=media.name)
        return self.engine.fitting(self.engine.processor.row(talk, opened=[opened], generate=True), talk)

    def _generated(self, shown: Sequence[_Shown], live: Live | None = None, numbers: Sequence[int] = ()) -> list[tuple[str, bool]]:
        """Greedy answers of one batch, and whether each ended by itself; `live` hears them under these numbers."""
        engine = self.engine
        rows = [s.row for s in shown]
        room = [min(self.max_new_tokens, engine.limits.max_new_tokens, engine.context - len(row.ids)) for row in rows]
        batch = engine.processor.collate(rows, side="left").to(engine.model.device)
        pad = engine.processor.tokenizer.pad_token_id
        heard = None if live is None else partial(_tell, live, engine.processor.tokenizer, numbers)
        said = decode_batch(engine.model, batch, end_ids=engine.processor.end_ids, max_new_tokens=room, pad_id=pad, watch=heard)
        if heard is not None:
            heard(said, [True] * len(said))
        texts = [str(engine.processor.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in said]
        return [(text, len(ids) < most) for text, ids, most in zip(texts, said, room, strict=True)]

    def _weighed(self, texts: Sequence[str], found: Sequence[str], shown: Sequence[_Shown], scored: Sequence[LabelScores]) -> list[Claim]:
        """The claims, the most likely first."""
        total = sum(s.passage.weight for s in shown)
        weights = [s.passage.weight / total if total else 1.0 / len(shown) for s in shown]
        claims = []
        for n, text in enumerate(texts):
            own = [i for i, said in enumerate(found) if said == text]
            tokens = len(self.engine.processor.text.user(text)) + 1
            claims.append(
                Claim(
                    text=text, numbers=tuple(shown[i].passage.number for i in own),
                    share=sum(w * s.probabilities[n] for w, s in zip(weights, scored, strict=True)),
                    likelihood=math.exp(max(scored[i].log_probs[n] for i in own) / tokens),
                )
            )  # fmt: skip
        return sorted(claims, key=lambda c: (-(c.share or 0.0), c.numbers))

    def _of_all(self, question: str, passages: Sequence[Passage], live: Live | None) -> Said:
        """One conversation over all passages."""
        named = [replace(p, texts=self._known(p)) for p in passages]
        talk = put(question, named, [self._media(p) for p in passages])
        try:
            row = self.engine.processor.row(talk, opened=[self.engine.open(m)[0] for m in talk.media], generate=True)
            row = self.engine.fitting(row, talk)
        except LimitError as error:
            raise LimitError(error.found, remedy="take fewer windows (-k), or ask each by itself (without --together).") from error
        [(text, ended)] = self._generated([_Shown(passages[0], row)], live, [0])
        notes = [] if ended else ["the answer was cut at the longest that was allowed"]
        reports = {p.number: merge_reports([clip]) for p, clip in zip(passages, row.media, strict=True)}
        return Said(claims=claims_of(text), report=row.report, reports=reports, notes=notes)


def _tell(live: Live, tokenizer: Any, numbers: Sequence[int], said: Sequence[Sequence[int]], ended: Sequence[bool]) -> bool:
    """Let somebody hear what a batch has said so far; returns whether it is to go on."""
    for number, ids, done in zip(numbers, said, ended, strict=True):
        text = str(tokenizer.decode(list(ids), skip_special_tokens=True))
        live.hears(number, (text if done else whole_characters(text)).strip(), done)
    return not live.cancel.is_set()


def _sum(rows: Sequence[Row]) -> ModalityReport:
    """One report of several rows."""
    report = merge_reports([clip for row in rows for clip in row.media])
    report.notes = list(dict.fromkeys(report.notes))
    return report


def _batches(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Pieces that are computed at once."""
    return [items[i : i + _BATCH] for i in range(0, len(items), _BATCH)]


def describe(engine: Engine, passages: Sequence[Passage], *, max_new_tokens: int = 96) -> tuple[dict[int, str], dict[int, ModalityReport]]:
    """What a chat model writes of each passage as a caption, and what it saw and heard; what cannot be opened is left out."""
    from unifusion import catalog
    from unifusion.conversation import Example

    task = catalog.load("tasks", "caption")()
    asking = ChatAnswers(engine=engine, words="none", max_new_tokens=max_new_tokens)
    told: dict[int, str] = {}
    reports: dict[int, ModalityReport] = {}
    for passage in passages:
        question = task.conversation(Example(id=passage.path)).messages[-1].text
        try:
            shown, _ = asking._opened(question, [passage])
        except MediaError:
            continue
        told[passage.number] = asking._generated(shown)[0][0]
        reports[passage.number] = shown[0].row.report
    return told, reports
