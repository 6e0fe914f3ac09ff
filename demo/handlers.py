"""What happens when somebody presses a button. Knows the engine and the visits, nothing of Gradio."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from unifusion.errors import ConfigError, UniFusionError

from .drawing import bars, circumplex, notice, prose, timeline
from .report import report_html
from .visits import Choice, Turn, Visit, Visits

if TYPE_CHECKING:
    from unifusion import Engine
    from unifusion.engine import Session

__all__ = ["ChatView", "EmotionView", "Handlers"]

LOG = logging.getLogger(__name__)
UNEXPECTED = "Something went wrong on the server; it was logged there. Your talk is kept: ask again, or try another clip."
WAITING = "Looking and listening …"
_FRAME_S = 0.05
"""A page is redrawn at most this often while an answer streams."""


@dataclass(kw_only=True)
class ChatView:
    """What the chat tab shows: its turns, what stands in the question box, and a notice (safe HTML)."""

    turns: list[Turn]
    question: str = ""
    notice: str = ""


@dataclass(kw_only=True)
class EmotionView:
    """What the emotion tab shows, all of it safe HTML."""

    label: str = ""
    circle: str = ""
    rationale: str = ""
    evidence: str = ""
    report: str = ""
    notice: str = ""


@dataclass(kw_only=True)
class Handlers:
    """The page's actions.

    Args:
        engine: what answers.
        visits: whose talks are held.
        max_new_tokens: longest answer.
    """

    engine: Engine
    visits: Visits = field(default_factory=Visits)
    max_new_tokens: int = 192

    def begin(self, key: str) -> None:
        """A question was sent: forget an earlier stop. Runs before the queue, so that a stop while waiting counts."""
        self.visits.get(key).cancel.clear()

    def stop(self, key: str) -> None:
        """End the answer at its next token."""
        self.visits.get(key).cancel.set()

    def clear(self, key: str) -> ChatView:
        """Begin a new talk about whatever clip is chosen."""
        visit = self.visits.get(key)
        visit.forget()
        return ChatView(turns=[])

    def ask(
        self, key: str, kind: str, paths: dict[str, str | None], span: tuple[str, str], question: str, keep: bool = False
    ) -> Iterator[ChatView]:
        """Answer a question, piece by piece; a mistake becomes a notice, and what was said before stays.

        Args:
            key: whose talk.
            kind: which of `paths` is meant: video, audio or image.
            paths: the files chosen, by kind.
            span: start and end in seconds as typed, empty where not given.
            question: what was typed.
            keep: a new clip joins the talk instead of beginning another.
        """
        visit = self.visits.get(key)
        before = list(visit.turns)
        if not visit.busy.acquire(blocking=False):
            yield ChatView(turns=before, question=question, notice=notice("The last question is still being answered; stop it or wait."))
            return
        choice = None
        try:
            if not question.strip():
                raise ConfigError("The question is empty;", remedy="write what you want to know.")
            choice = Choice.of(kind, paths, *span)
            yield from self._answer(visit, choice, question.strip(), keep)
        except UniFusionError as error:
            yield ChatView(turns=list(visit.turns), question=question, notice=notice(one_line(error, choice)))
        except Exception:  # a fault of ours ends no visit: it is logged whole, and the page says that something went wrong
            LOG.exception("a question failed")
            visit.session = visit.choice = None
            yield ChatView(turns=list(visit.turns), question=question, notice=notice(UNEXPECTED))
        finally:
            visit.busy.release()

    def _answer(self, visit: Visit, choice: Choice, question: str, keep: bool) -> Iterator[ChatView]:
        """Open the clip where it is new, then stream. The visit changes only once that has worked."""
        reused = visit.session is not None and visit.choice == choice
        epoch, turns, turn = visit.epoch, list(visit.turns), Turn(question=question, clip="" if reused else label_of(choice))
        yield ChatView(turns=[*turns, Turn(question=question, answer=WAITING, clip=turn.clip)])
        session = self._session(visit, choice, keep)
        if visit.cancel.is_set():
            yield ChatView(
                turns=turns,
                question=question,
                notice=notice("Stopped before the first word; the question is still in the box.", alert=False),
            )
            return
        drawn_s = 0.0
        stream = session.stream(question, max_new_tokens=self.max_new_tokens, cancel=visit.cancel)
        try:
            with closing(cast("Generator[str]", stream)) as pieces:
                for piece in pieces:
                    turn.answer += piece
                    if time.monotonic() - drawn_s > _FRAME_S:
                        drawn_s = time.monotonic()
                        yield ChatView(turns=[*turns, replace(turn)])
        except GeneratorExit:
            turn.report = report_html(session.report, {}, reused=reused, ended="the page was left")
            visit.keep(turn, session, choice, epoch)
            raise
        answer = session.answer
        if answer is None:
            raise ConfigError("The answer was not finished;", remedy="ask again.")
        turn.answer = answer.text
        ended = "stopped by you" if answer.cancelled else "" if answer.stopped else "cut at the longest answer allowed"
        turn.report = report_html(answer.report, answer.timing, reused=reused, ended=ended)
        visit.keep(turn, session, choice, epoch)
        yield ChatView(turns=list(visit.turns))

    def _session(self, visit: Visit, choice: Choice, keep: bool) -> Session:
        """The session that knows the clip: the running one, or a new one, which is not yet the visit's."""
        if visit.session is not None and visit.choice == choice:
            return visit.session
        session = visit.session if keep and visit.session is not None else self.engine.session()
        session.add(choice.media)
        if session is visit.session:
            visit.choice = choice
        return session

    def feel(self, kind: str, paths: dict[str, str | None], span: tuple[str, str]) -> EmotionView:
        """Read the emotion in the chosen clip; a mistake becomes a notice."""
        choice = None
        try:
            choice = Choice.of(kind, paths, *span)
            found = self.engine.emotion([choice.media])
        except UniFusionError as error:
            return EmotionView(notice=notice(one_line(error, choice)))
        except Exception:  # a fault of ours ends no visit: it is logged whole, and the page says that something went wrong
            LOG.exception("an emotion failed")
            return EmotionView(notice=notice(UNEXPECTED))
        seconds = max((s.seconds for s in found.report.streams.values() if s.present), default=0.0)
        return EmotionView(
            label=bars(found.label, found.probabilities),
            circle=circumplex(found.valence, found.arousal),
            rationale=prose(found.rationale),
            evidence=timeline(found.evidence, seconds, start_s=choice.start_s or 0.0),
            report=report_html(found.report, found.timing),
        )


def label_of(choice: Choice) -> str:
    """The clip's name and span for people."""
    if choice.start_s is None and choice.end_s is None:
        return choice.name
    return f"{choice.name}, {choice.start_s or 0:g} s to {'its end' if choice.end_s is None else f'{choice.end_s:g} s'}"


def one_line(error: UniFusionError, choice: Choice | None) -> str:
    """The error's text in one line, with the file's name in place of where it lies on the server."""
    text = str(error) if choice is None else str(error).replace(choice.path, choice.name)
    return " ".join(text.split())
