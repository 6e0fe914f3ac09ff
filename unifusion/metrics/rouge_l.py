"""ROUGE-L of two texts."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.metrics._texts import words_of

__all__ = ["rouge_l"]


def _longest(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for word in a:
        corner = 0
        for j, other in enumerate(b, 1):
            corner, row[j] = row[j], corner + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def rouge_l(prediction: str, references: str | Sequence[str]) -> float:
    """Best F-measure of the longest common subsequence of words against any reference (Lin 2004).

    Equals `rouge_score`'s rougeL without stemming on Latin letters; of other scripts, which that drops, see `_texts.words_of`.

    | input | shape | meaning |
    |---|---|---|
    | `prediction` | text | the answer as generated |
    | `references` | text or (N,) texts | the best one counts |
    """
    said = words_of(prediction)
    best = 0.0
    for reference in [references] if isinstance(references, str) else references:
        wanted = words_of(reference)
        if said and wanted:
            best = max(best, 2 * _longest(said, wanted) / (len(said) + len(wanted)))
    return best
