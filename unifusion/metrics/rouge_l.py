"""ROUGE-L of two texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

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

    Equals `rouge_score`'s rougeL without stemming: words are runs of a-z and 0-9.

    | input | shape | meaning |
    |---|---|---|
    | `prediction` | text | the answer as generated |
    | `references` | text or (N,) texts | the best one counts |
    """
    said = re.findall(r"[a-z0-9]+", prediction.lower())
    best = 0.0
    for reference in [references] if isinstance(references, str) else references:
        wanted = re.findall(r"[a-z0-9]+", reference.lower())
        if said and wanted:
            best = max(best, 2 * _longest(said, wanted) / (len(said) + len(wanted)))
    return best
