"""The soft accuracy of VQA: an answer is right as far as people gave it."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.errors import ConfigError
from unifusion.metrics._texts import paired
from unifusion.metrics._vqa import vqa_normalise

__all__ = ["vqa_accuracy"]


def vqa_accuracy(predictions: Sequence[str], references: Sequence[Sequence[str]], *, unanimous_as_is: bool = True) -> float:
    """Mean over questions of the mean over annotators of min(1, equal answers among the others / 3) (Antol et al. 2015, VQA v2).

    With ten annotators an answer that n of them gave earns 0, 0.3, 0.6, 0.9 or 1 for n of 0, 1, 2, 3, 4 and more.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | answers as generated |
    | `references` | (N, A) | of each question the answers of A annotators, 10 in VQA, at least 2 |
    | `unanimous_as_is` | | as published: where all annotators wrote the same, nothing is normalised, so "Yes." misses "yes" |

    Raises:
        ConfigError: lengths do not fit, or a question has fewer than two answers.
    """
    rows = paired(predictions, references, "vqa_accuracy")
    few = [i for i, row in enumerate(rows) if len(row) < 2]
    if few:
        found = f"vqa_accuracy: question {few[0]} has {len(rows[few[0]])} answer;"
        raise ConfigError(found, remedy="give those of all annotators; exact_match is for one right answer.")
    return sum(_one(said, row, unanimous_as_is) for said, row in zip(predictions, rows, strict=True)) / len(rows)


def _one(said: str, answers: Sequence[str], unanimous_as_is: bool) -> float:
    """Accuracy of one answer."""
    said, *answers = (" ".join(t.split("\n")).replace("\t", " ").strip() for t in (said, *answers))
    if len(set(answers)) > 1 or not unanimous_as_is:
        said, *answers = (vqa_normalise(t) for t in (said, *answers))
    equal = [a == said for a in answers]
    return sum(min(1.0, (sum(equal) - own) / 3) for own in equal) / len(answers)
