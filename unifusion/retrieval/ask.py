"""Retrieve, then generate: a question over a library, answered from the windows that were found, each statement with clip and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from unifusion.errors import ConfigError
from unifusion.retrieval.asked import Asked, Generates, cite
from unifusion.retrieval.backends.backend import Where
from unifusion.retrieval.embedding import Embeds, Query
from unifusion.retrieval.found import Found
from unifusion.retrieval.live import Live
from unifusion.retrieval.passages import joined
from unifusion.retrieval.wording import checked

__all__ = ["Asker", "Retrieved", "Searches"]

_NOT_JUDGED = "the embedder has no calibrated threshold: whether what was found is relevant was not judged (a threshold can be given)"
_BY_OTHERS = "the threshold holds for words against whole windows: whether what was found is relevant was not judged"


class Searches(Protocol):
    """The part of a library that is asked."""

    @property
    def embedder(self) -> Embeds:
        """Whose vectors are searched."""

    def search(self, query: Query | Sequence[Query], k: int = 5, where: Where | None = None, space: str = "clip") -> list[Found]:
        """Windows nearest to a query, the best first."""

    def __len__(self) -> int:
        """Windows."""


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """What a search gave, judged.

    Attributes:
        found: windows, the best first.
        threshold: score from which one counts as relevant; None where nobody can tell.
        notes: why nobody can tell.
        search_s: how long it took.
    """

    found: list[Found]
    threshold: float | None
    notes: tuple[str, ...] = ()
    search_s: float = 0.0

    @property
    def used(self) -> list[Found]:
        """Those that count as relevant; all of them where nobody can tell."""
        return [f for f in self.found if self.threshold is None or f.score >= self.threshold]

    @property
    def relevant(self) -> bool | None:
        """Whether anything relevant was found; None where something was and nobody can tell."""
        return None if self.threshold is None and self.found else bool(self.used)


@dataclass(kw_only=True)
class Asker:
    """Answers questions over a library. Not for two threads at once, as what answers is not.

    Attributes:
        library: what is searched.
        generator: what answers, or what makes it when it is first needed.
        k: windows that are searched for.
        threshold: score from which a window is relevant; None takes the embedder's, where it was calibrated.
    """

    library: Searches
    generator: Generates | Callable[[], Generates]
    k: int = 4
    threshold: float | None = None
    _made: Generates | None = field(default=None, repr=False)

    @classmethod
    def open(
        cls, index: str | Path, *, model: str = "checkpoints/tiny-chat", device: str = "cpu", together: bool = False, **options: Any
    ) -> Asker:  # fmt: skip
        """Open a library to be asked by a chat model, which is loaded with the first question that finds something.

        Raises:
            ConfigError: there is no library.
            CheckpointError: it is damaged.
        """
        from unifusion.retrieval.library import Library

        def chat() -> Generates:
            """The chat model, loaded."""
            from unifusion.engine import Engine
            from unifusion.retrieval.chat_answers import ChatAnswers

            return ChatAnswers(engine=Engine.from_pretrained(model, device=device), label=Path(model).name, together=together)

        return cls(library=Library.open(index), generator=chat, **options)

    @property
    def answers(self) -> Generates:
        """What answers."""
        if self._made is None:
            self._made = self.generator() if callable(self.generator) else self.generator
        return self._made

    def find(
        self, query: Query | Sequence[Query], *, k: int | None = None, where: Where | None = None, space: str = "clip"
    ) -> Retrieved:  # fmt: skip
        """Search, and judge what was found.

        Raises:
            ConfigError: a query that cannot be used.
        """
        began = time.perf_counter()
        found = self.library.search(query, self.k if k is None else k, where, space)
        threshold, notes = self.threshold, list[str]()
        if threshold is None:
            # Fitted for words against whole windows; scores of other queries lie elsewhere.
            fits = isinstance(query, str) and space == "clip"
            known: Mapping[str, float] = self.library.embedder.calibration if fits else {}
            threshold = known.get("threshold")
            notes = [] if threshold is not None else [_NOT_JUDGED if fits else _BY_OTHERS]
        return Retrieved(found=found, threshold=threshold, notes=tuple(notes if found else ()), search_s=time.perf_counter() - began)

    def ask(
        self, question: str, *, by: Query | Sequence[Query] | None = None, where: Where | None = None, space: str = "clip",
        live: Live | None = None,
    ) -> Asked:  # fmt: skip
        """Find windows and answer from them.

        Args:
            question: what a person wants to know.
            by: what is searched for instead of the question's words.
            where: a filter on metadata, as `Library.search` takes it.
            space: vectors that are searched.
            live: is told what is said as it is made.

        Raises:
            ConfigError: an empty question, or a search that cannot be done.
            MediaError: nothing of what was found can be opened.
        """
        question = checked(question)
        return self.over(question, self.find(question if by is None else by, where=where, space=space), live=live)

    def over(self, question: str, retrieved: Retrieved, *, live: Live | None = None) -> Asked:
        """Answer from what was found already; nothing is generated where none of it is relevant. `live` is told as it is made.

        Raises:
            ConfigError: an empty question, or a generator that says nothing.
            MediaError: nothing of what was found can be opened.
        """
        question, began = checked(question), time.perf_counter()
        used = retrieved.used
        told = Asked(
            question=question, answer="", relevant=retrieved.relevant, threshold=retrieved.threshold,
            below=len(retrieved.found) - len(used), notes=list(retrieved.notes), timing={"search_s": retrieved.search_s},
        )  # fmt: skip
        if not used:
            told.answer = self._nothing(retrieved)
            return told
        generator = self.answers
        passages = joined(used, longest_s=generator.longest_s, scale=float(self.library.embedder.scale))
        if live is None:
            said = generator.answer(question, passages)
        else:
            live.begins(passages)
            said = generator.answer(question, passages, live)
            said.notes += ["the answer was stopped"] if live.cancel.is_set() else []
        if not said.claims:
            raise ConfigError(f"{generator.name} says nothing;", remedy="ask in other words, or take another model.")
        answer, citations, notes = cite(said, passages)
        cropped = [f"{p.cropped} characters of the words of window {p.number} were left out" for p in passages if p.cropped]
        told.timing["answer_s"] = time.perf_counter() - began
        return replace(
            told, answer=answer, citations=citations, passages=passages, reports=said.reports, generator=generator.name,
            report=said.report, claims=[*said.claims, *said.unsaid], notes=[*told.notes, *cropped, *said.notes, *notes],
        )  # fmt: skip

    def _nothing(self, retrieved: Retrieved) -> str:
        """The sentence that says that nothing was found."""
        if not retrieved.found:
            what = "The index is empty." if not len(self.library) else "No window of the index passes the filter."
            return f"Nothing relevant was found. {what}"
        best = max(f.score for f in retrieved.found)
        return (
            f"Nothing relevant was found: the best of {len(retrieved.found)} windows has a score of {best:.3f}, "
            f"a relevant one has at least {retrieved.threshold:.3f}."
        )
