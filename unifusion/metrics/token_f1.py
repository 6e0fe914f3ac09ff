"""Token overlap F1 of two texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

__all__ = ["token_f1"]


def _tokens(text: str) -> list[str]:
    """Words of SQuAD's evaluation: lower case, no punctuation inside or around them, no articles."""
    bare = re.sub(r"[^\w\s]|_", "", text.lower())
    return [w for w in bare.split() if w not in ("a", "an", "the")]


def token_f1(prediction: str, references: str | Sequence[str]) -> float:
    """Best F1 of shared words (counted) against any reference, after SQuAD (Rajpurkar et al. 2016).

    Two texts without words agree (1); one without words and one with disagree (0).

    | input | shape | meaning |
    |---|---|---|
    | `prediction` | text | the answer as generated |
    | `references` | text or (N,) texts | the best one counts |
    """
    said = _tokens(prediction)
    best = 0.0
    for reference in [references] if isinstance(references, str) else references:
        wanted = _tokens(reference)
        shared = sum((Counter(said) & Counter(wanted)).values())
        size = len(said) + len(wanted)
        best = max(best, 2 * shared / size if size else 1.0)
    return best
