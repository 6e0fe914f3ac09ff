"""Task: how pleasant and how excited the person is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.metrics.ccc import ccc
from unifusion.prompts import ValenceArousalAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["ValenceArousal"]


class ValenceArousal(Task):
    """Valence and arousal of the clip, each -1 to 1. The truth is `labels["valence"]` and `labels["arousal"]`.

    The primary number is the mean of both CCCs over the whole set (`summarise`). No answer may stand in for one that was not
    parsed, so CCC is computed over the parsed ones and multiplied by their share. One answer's `value` is 1 - mean error / 2.
    """

    prompt = "valence_arousal"
    metric = "ccc"
    is_mean = False

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The true values."""
        if not with_answer:
            return {}
        valence, arousal = self._target(example)
        return {"valence": valence, "arousal": arousal}

    def score(self, answer: str, example: Example) -> Score:
        """Closeness of both numbers; an unparsed answer earns 0."""
        parsed = self.parse(answer, example)
        target = self._target(example)
        if not isinstance(parsed, ValenceArousalAnswer):
            return Score(value=0.0)
        errors = (abs(parsed.valence - target[0]), abs(parsed.arousal - target[1]))
        details = {"valence_error": errors[0], "arousal_error": errors[1]}
        return Score(value=1 - sum(errors) / 4, parsed=(parsed.valence, parsed.arousal), details=details)

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """CCC of each over the set, their mean, the mean absolute error, and the share of unparsed answers."""
        pairs = [(s.parsed, self._target(e)) for s, e in zip(scores, examples, strict=True) if not s.unparsed]
        unparsed = 1 - len(pairs) / len(scores)
        if not pairs:
            return {"ccc": 0.0, "unparsed": unparsed}
        each = [ccc([p[i] for p, _ in pairs], [t[i] for _, t in pairs]) for i in (0, 1)]
        error = sum(abs(p[i] - t[i]) for p, t in pairs for i in (0, 1)) / (2 * len(pairs))
        mean = sum(each) / 2 * (1 - unparsed)
        return {"ccc": mean, "valence_ccc": each[0], "arousal_ccc": each[1], "mean_absolute_error": error, "unparsed": unparsed}

    def _target(self, example: Example) -> tuple[float, float]:
        """The true pair.

        Raises:
            DatasetError: one of them is missing, no number, or outside of [-1, 1], as raw ratings are.
        """
        found = [self._number(example, key) for key in ("valence", "arousal")]
        return found[0], found[1]

    def _number(self, example: Example, key: str) -> float:
        """One of them."""
        raw = self.truth(example, key)
        try:
            value = float(raw)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not -1 <= value <= 1:
            raise DatasetError(f"example {example.id!r} has the {key} {raw!r};", remedy="give a number from -1 to 1.")
        return value
