"""Task: every emotion a person shows, in one's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.metrics._emotion_words import emotion_words
from unifusion.metrics.emotion_wheel_f import emotion_wheel_f
from unifusion.metrics.hit_rate import hit_rate
from unifusion.metrics.penalised_hit_rate import penalised_hit_rate
from unifusion.tasks.task import Score, Task

__all__ = ["EmotionsOpen"]


class EmotionsOpen(Task):
    """Any number of emotions without a list to choose from. The truth is `labels["emotions"]`, words, or the one of `labels["emotion"]`.

    What an answer names, in a list or in sentences, is found without a language model (`metrics._emotion_words`) and compared on our own
    wheels; an answer in which no emotion is found is unparsed. Where every example has `labels["emotion"]`, hit rates are given as well.
    """

    prompt = "emotions_open"
    metric = "emotion_wheel_f"
    is_mean = False

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The true words."""
        return {"emotions": self.target(example)} if with_answer else {}

    def target(self, example: Example) -> tuple[str, ...]:
        """The true words.

        Raises:
            DatasetError: there are none, or what is there is no words.
        """
        truth = self.truth(example, "emotions", "emotion")
        words = (truth,) if isinstance(truth, str) else tuple(truth) if isinstance(truth, list | tuple) else ()
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise DatasetError(f"example {example.id!r} has emotions {truth!r};", remedy="give a word, or a list of words.")
        return words

    def score(self, answer: str, example: Example) -> Score:
        """F on the wheels of this answer alone; details tell how many words it has, and `skipped` of a truth outside the vocabulary."""
        target = self.target(example)
        words = emotion_words(answer)
        found = emotion_wheel_f([words], [target])
        details = {"precision": found.precision, "recall": found.recall, "size": float(len(words)), "skipped": float(found.skipped)}
        return Score(value=found.value, parsed=words or None, details=details)

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """F over the set (of mean precision and mean recall, so no mean of the scores), what it is made of, and hit rates."""
        words = [s.parsed or () for s in scores]
        found = emotion_wheel_f(words, [self.target(e) for e in examples])
        numbers = {
            "emotion_wheel_f": found.value, "precision": found.precision, "recall": found.recall, "mean_size": found.mean_size,
            "skipped": found.skipped / len(scores), "unparsed": sum(s.unparsed for s in scores) / len(scores),
        }  # fmt: skip
        basic = [e.labels.get("emotion") for e in examples]
        if all(isinstance(label, str) for label in basic):
            labels = [str(label) for label in basic]
            numbers |= {"hit_rate": hit_rate(words, labels).value, "penalised_hit_rate": penalised_hit_rate(words, labels)}
        return numbers
