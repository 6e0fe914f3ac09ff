"""Task: a question over several numbered clips, whose answer cites those that it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.metrics.exact_match import exact_match
from unifusion.prompts import CitedAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["CitedQa"]


class CitedQa(Task):
    """Answer `texts["question"]` and cite.

    What is known of the clips stands in `labels["windows"]`: rows of `number` (from 1), `name`, `start_s`, `end_s`, and `texts`, pairs of
    a name and words. The truth is `texts["answer"]` and `labels["cited"]`, the numbers that it rests on, where somebody has told them.
    An answer is right when its words are, after VQA's normalisation, and it cites exactly those; the F1 of what it cites is told beside.
    """

    prompt = "cited_qa"
    metric = "accuracy"

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The numbers that the true answer cites."""
        return {"cited": self._cited(example)} if with_answer else {}

    def score(self, answer: str, example: Example) -> Score:
        """Words and numbers."""
        references = [str(self.truth(example, "answer")), *self.further(example, "answers")]
        parsed = self.parse(answer, example)
        if not isinstance(parsed, CitedAnswer):
            return Score(value=0.0)
        wanted, named = set(self._cited(example)), set(parsed.numbers)
        right = exact_match(parsed.text, references)
        f1 = 2 * len(wanted & named) / (len(wanted) + len(named)) if wanted | named else 1.0
        return Score(value=right * float(wanted == named), parsed=parsed, details={"words": right, "cited_f1": f1})

    def _cited(self, example: Example) -> tuple[int, ...]:
        """The numbers that the answer rests on.

        Raises:
            DatasetError: they are no list of numbers.
        """
        found = example.labels.get("cited") or ()
        if not isinstance(found, list | tuple) or not all(isinstance(n, int) for n in found):
            raise DatasetError(f"example {example.id!r} has cited {found!r};", remedy="give a list of whole numbers.")
        return tuple(found)
