"""Task: does this text tell of this clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.prompts import YesNoAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["Match"]


class Match(Task):
    """Yes or no: `texts["text"]` describes the clip. The truth is `labels["match"]`, True or False."""

    prompt = "match"
    metric = "accuracy"
    default_labels = ("yes", "no")

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The true answer as a word."""
        return {"answer": "yes" if self._right(example) else "no"} if with_answer else {}

    def score(self, answer: str, example: Example) -> Score:
        """1 for the right word, else 0; `parsed` is "yes" or "no"."""
        right = self._right(example)
        parsed = self.parse(answer, example)
        if not isinstance(parsed, YesNoAnswer):
            return Score(value=0.0)
        return Score(value=float(parsed.yes == right), parsed="yes" if parsed.yes else "no")

    def _right(self, example: Example) -> bool:
        """Whether the text belongs to the clip."""
        value = self.truth(example, "match")
        if not isinstance(value, bool):
            raise DatasetError(f"example {example.id!r} has match {value!r};", remedy="give true or false.")
        return value
