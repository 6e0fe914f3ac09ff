"""An answer over what was found: what a generator says, and statements with the clip and the seconds that each rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from unifusion.batch import ModalityReport
from unifusion.retrieval.passages import Passage, place

if TYPE_CHECKING:
    from unifusion.retrieval.live import Live

__all__ = ["Asked", "Citation", "Claim", "Generates", "Said", "cite"]

_TOUCHING_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of a generator.

    Attributes:
        text: its words.
        numbers: of the passages that it rests on.
        share: how likely it is over all passages, where the generator can tell; all claims of an answer sum to 1.
        likelihood: mean probability of its tokens in the passage that says it most surely.
    """

    text: str
    numbers: tuple[int, ...] = ()
    share: float | None = None
    likelihood: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "text": self.text, "windows": list(self.numbers), "share": _rounded(self.share), "likelihood": _rounded(self.likelihood)
        }  # fmt: skip


@dataclass(kw_only=True)
class Said:
    """What a generator gives.

    Attributes:
        claims: statements in the order in which they are said.
        report: what it really saw and heard of all passages together.
        reports: the same by the number of a passage, where it can be told apart.
        apart: each claim is an answer by itself, and stands on a line of its own.
        unsaid: answers that it holds too unlikely to say.
        notes: what a person should know.
    """

    claims: list[Claim]
    report: ModalityReport
    reports: dict[int, ModalityReport] = field(default_factory=dict)
    apart: bool = False
    unsaid: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Generates(Protocol):
    """What makes an answer from passages."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def longest_s(self) -> float:
        """Longest passage that it takes whole."""

    def answer(self, question: str, passages: Sequence[Passage], live: Live | None = None) -> Said:
        """Answer from passages, numbered from 1; there is at least one. No claims where it says nothing.

        Args:
            question: what a person wants to know.
            passages: to answer from.
            live: is told what is said as it is made, as far as the generator can; it is given where somebody listens.

        Raises:
            UniFusionError: it cannot.
        """


@dataclass(frozen=True, kw_only=True)
class Citation:
    """What a statement rests on.

    Attributes:
        path: of the file.
        name: what people call it.
        start_s, end_s: span in the file; both 0 for a still.
        score: of the best of its windows.
        text: the statement.
        numbers: of the passages.
    """

    path: str
    name: str
    start_s: float
    end_s: float
    score: float
    text: str
    numbers: tuple[int, ...]

    @property
    def mark(self) -> str:
        """How it stands in an answer: `[dogs.mp4 @ 3.2-5.0 s]`."""
        return f"[{place(self.name, self.start_s, self.end_s)}]"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "path": self.path, "start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3), "score": round(self.score, 6),
            "text": self.text, "mark": self.mark, "windows": list(self.numbers),
        }  # fmt: skip


@dataclass(kw_only=True)
class Asked:
    """A question with its answer.

    Attributes:
        question: as it was asked.
        answer: for people, with marks of citations in it.
        citations: what it rests on, in the order in which it stands in the answer.
        relevant: whether anything relevant was found; None where nobody can tell.
        threshold: score from which a window counted as relevant; None where there is none.
        passages: what the generator was given.
        reports: what was seen and heard of each, by number.
        below: how many windows were found and not used, since their score was below the threshold.
        generator: what answered; "" where nothing was asked of it.
        report: what it saw and heard in all.
        claims: statements with their likelihoods; those not said stand behind the others.
        notes: what a person should know.
        timing: seconds: search_s, answer_s.
    """

    question: str
    answer: str
    citations: list[Citation] = field(default_factory=list)
    relevant: bool | None
    threshold: float | None
    passages: list[Passage] = field(default_factory=list)
    reports: dict[int, ModalityReport] = field(default_factory=dict)
    below: int = 0
    generator: str = ""
    report: ModalityReport = field(default_factory=ModalityReport)
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of `unifusion ask --json`."""
        windows = [
            {**p.to_dict(), "report": self.reports[p.number].to_dict() if p.number in self.reports else None} for p in self.passages
        ]
        return {
            "question": self.question, "answer": self.answer, "citations": [c.to_dict() for c in self.citations],
            "relevant": self.relevant, "threshold": self.threshold, "windows": windows, "below_threshold": self.below,
            "generator": self.generator, "claims": [c.to_dict() for c in self.claims], "report": self.report.to_dict(),
            "notes": list(self.notes), "timing": {k: round(v, 4) for k, v in self.timing.items()},
        }  # fmt: skip


def _rounded(value: float | None) -> float | None:
    """Six digits."""
    return None if value is None else round(value, 6)


def cite(said: Said, passages: Sequence[Passage]) -> tuple[str, list[Citation], list[str]]:
    """The answer with marks, its citations, and notes on what is wrong with them.

    Numbers of passages that were not given are left out and told of; so is an answer that cites nothing.
    """
    known = {p.number: p for p in passages}
    parts: list[str] = []
    citations: list[Citation] = []
    unknown: dict[int, None] = {}
    for claim in said.claims:
        unknown.update(dict.fromkeys(n for n in claim.numbers if n not in known))
        own = _together([known[n] for n in claim.numbers if n in known], claim.text)
        citations += own
        parts.append(" ".join([claim.text, *(c.mark for c in own)]).strip())
    notes = []
    if unknown:
        listed = ", ".join(map(str, unknown))
        notes.append(f"the answer cited what it was not given ({listed}, there are 1 to {len(passages)}); that was left out")
    if not citations:
        notes.append("the answer does not say which window it rests on")
    elif any(not set(claim.numbers) & set(known) for claim in said.claims):
        notes.append("a part of the answer does not say which window it rests on")
    return ("\n" if said.apart else " ").join(filter(None, parts)), citations, notes


def _together(passages: Sequence[Passage], text: str) -> list[Citation]:
    """Citations of some passages; neighbours of one file are one."""
    found: list[Citation] = []
    order = sorted(passages, key=lambda p: (min(q.number for q in passages if q.path == p.path), p.start_s))
    for p in order:
        last = found[-1] if found else None
        if last is not None and last.path == p.path and not p.is_still and p.start_s <= last.end_s + _TOUCHING_S:
            span, score, numbers = (last.start_s, max(last.end_s, p.end_s)), max(last.score, p.score), (*last.numbers, p.number)
            found[-1] = Citation(path=p.path, name=p.name, start_s=span[0], end_s=span[1], score=score, text=text, numbers=numbers)
        else:
            found.append(
                Citation(path=p.path, name=p.name, start_s=p.start_s, end_s=p.end_s, score=p.score, text=text, numbers=(p.number,))
            )
    return found
