"""Task: whether what is said and shown is positive or negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import ConfigError, DatasetError
from unifusion.metrics.sentiment_waf import sentiment_waf
from unifusion.prompts import LabelAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["Sentiment"]

_SIGNS = {"positive": 1.0, "neutral": 0.0, "negative": -1.0}


class Sentiment(Task):
    """Positive, neutral or negative. The truth is `labels["sentiment"]`, one of these words or a number of which the sign counts.

    The primary number is weighted F1 of positive against negative over rows that are not neutral (CMU-MOSI, CMU-MOSEI, SIMS); a neutral
    answer counts as negative, as published, and `neutral` tells how many there are. One answer's value is 1 for the right sign.
    """

    prompt = "sentiment"
    metric = "sentiment_waf"
    is_mean = False
    default_labels = tuple(_SIGNS)

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The true word."""
        return {"sentiment": self._word(self.target(example))} if with_answer else {}

    def target(self, example: Example) -> float:
        """The true number.

        Raises:
            DatasetError: there is none.
        """
        raw = self.truth(example, "sentiment")
        value = _SIGNS.get(raw.lower()) if isinstance(raw, str) else raw if isinstance(raw, int | float) else None
        if value is None or not abs(value) < 1e9:
            raise DatasetError(f"example {example.id!r} has sentiment {raw!r};", remedy=f"give a number, or {', '.join(_SIGNS)}.")
        return float(value)

    def _word(self, value: float) -> str:
        """A number as a word."""
        return "positive" if value > 0 else "negative" if value < 0 else "neutral"

    def score(self, answer: str, example: Example) -> Score:
        """1 for the right sign, else 0; `parsed` is the word."""
        truth = self._word(self.target(example))
        parsed = self.parse(answer, example)
        label = parsed.label if isinstance(parsed, LabelAnswer) else None
        return Score(value=float(label == truth), parsed=label)

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """Weighted F1 and accuracy of the signs, and the shares of neutral and of unparsed answers."""
        said = [None if s.parsed is None else _SIGNS[s.parsed] for s in scores]
        unparsed = sum(s.unparsed for s in scores) / len(scores)
        try:
            found = sentiment_waf(said, [self.target(e) for e in examples])
        except ConfigError:  # all rows are neutral: there is no sign to tell
            return {"sentiment_waf": sum(s.value for s in scores) / len(scores), "unparsed": unparsed}
        return {
            "sentiment_waf": found.value, "accuracy": found.accuracy, "neutral": found.neutral / max(found.rows, 1), "unparsed": unparsed,
        }  # fmt: skip
