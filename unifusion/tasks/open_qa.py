"""Task: an open question about the clip."""

from __future__ import annotations

import re
from collections.abc import Callable

from unifusion.conversation import Example
from unifusion.errors import DatasetError, nearest
from unifusion.metrics.exact_match import exact_match, normalise
from unifusion.metrics.time_error import time_error
from unifusion.metrics.token_f1 import token_f1
from unifusion.prompts import LabelAnswer, NumberAnswer, SpanAnswer, ValenceArousalAnswer
from unifusion.prompts.parsers import load_parser
from unifusion.tasks.task import Score, Task, tolerance_of

__all__ = ["OpenQa"]


class OpenQa(Task):
    """Answer `texts["question"]` in a few words. The truth is `texts["answer"]`, further right ones in `labels["answers"]`.

    | `labels["checker"]` | an answer is right when |
    |---|---|
    | none | it equals a right answer after VQA's normalisation |
    | exact | the same; with `labels["options"]`, when it names the right one of them and no other |
    | set | it lists the same things in any order, split at commas and "and" |
    | number | its only number, or both of a valence and arousal, is within `labels["tolerance"]` (0) of the truth |
    | time | its only time or span is within `labels["tolerance"]` seconds (0.5) at both ends |
    | free | never wholly: the value is the overlap F1 of words |

    A number or time question whose truth is a sentence ("there is no sound in this clip") is right when that sentence is said.
    """

    prompt = "open_qa"
    metric = "accuracy"

    def choices(self, example: Example) -> tuple[str, ...]:
        """The options of a closed question, the truth among them; empty for an open one."""
        options = self.further(example, "options")
        truth = example.texts.get("answer")
        return options if not options or truth is None or exact_match(truth, options) else (*options, truth)

    def score(self, answer: str, example: Example) -> Score:
        """Score by the example's checker."""
        checkers: dict[str, Callable[[str, Example], Score]] = {
            "exact": self._exact, "set": self._set, "number": self._number, "time": self._time, "free": self._free,
        }  # fmt: skip
        checker = example.labels.get("checker") or "exact"
        if not isinstance(checker, str) or checker not in checkers:
            raise DatasetError(f"example {example.id!r} has checker {checker!r};", remedy=nearest(str(checker), list(checkers)))
        return checkers[checker](answer, example)

    def _references(self, example: Example) -> list[str]:
        """All right answers."""
        return [str(self.truth(example, "answer")), *self.further(example, "answers")]

    def _exact(self, answer: str, example: Example) -> Score:
        """The right one of the options, or equality after normalisation."""
        references = self._references(example)
        if options := self.choices(example):
            parsed = load_parser("label")(answer, choices=options)
            label = parsed.label if isinstance(parsed, LabelAnswer) else None
            return Score(value=exact_match(label or "", references), parsed=label)
        return Score(value=exact_match(answer, references), parsed=normalise(answer) or None)

    def _set(self, answer: str, example: Example) -> Score:
        """The same things in any order."""
        said = _items(answer)
        return Score(
            value=float(any(said == _items(r) for r in self._references(example)) and bool(said)), parsed=tuple(sorted(said)) or None
        )

    def _number(self, answer: str, example: Example) -> Score:
        """The number, or both of a valence and arousal, within the tolerance."""
        pair = load_parser("valence_arousal")
        truth, said = pair(str(self.truth(example, "answer"))), pair(answer)
        if isinstance(truth, ValenceArousalAnswer):
            if not isinstance(said, ValenceArousalAnswer):
                return Score(value=0.0)
            error = max(abs(said.valence - truth.valence), abs(said.arousal - truth.arousal))
            return Score(value=float(error <= tolerance_of(example, 0.0)), parsed=(said.valence, said.arousal), details={"error": error})
        read = load_parser("number")
        values = [p.value for r in self._references(example) if isinstance(p := read(r), NumberAnswer)]
        parsed = read(answer)
        if not values or not isinstance(parsed, NumberAnswer):
            return self._stated(answer, example)
        error = min(abs(parsed.value - v) for v in values)
        return Score(value=float(error <= tolerance_of(example, 0.0)), parsed=parsed.value, details={"error": error})

    def _time(self, answer: str, example: Example) -> Score:
        """The time within the tolerance at both ends."""
        read = load_parser("span")
        spans = [(p.start_s, p.end_s) for r in self._references(example) if isinstance(p := read(r), SpanAnswer)]
        parsed = read(answer)
        if not spans or not isinstance(parsed, SpanAnswer):
            return self._stated(answer, example)
        error_s = min(time_error((parsed.start_s, parsed.end_s), s) for s in spans)
        return Score(
            value=float(error_s <= tolerance_of(example, 0.5)), parsed=(parsed.start_s, parsed.end_s), details={"time_error_s": error_s}
        )

    def _stated(self, answer: str, example: Example) -> Score:
        """A truth in words where a number or time was asked for ("there is no sound in this clip") must be said; the rest is unparsed."""
        right = exact_match(answer, self._references(example))
        return Score(value=right, parsed=normalise(answer) if right else None)

    def _free(self, answer: str, example: Example) -> Score:
        """Overlap of words."""
        return Score(value=token_f1(answer, self._references(example)), parsed=answer.strip() or None)


def _items(text: str) -> frozenset[str]:
    """What a list names, each item normalised."""
    return frozenset(filter(None, (normalise(i) for i in re.split(r",|;|\n|\band\b|&", text))))
