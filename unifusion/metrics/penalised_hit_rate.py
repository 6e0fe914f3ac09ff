"""The hit rate with each hit divided by how much was listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from unifusion.metrics._wheels import Vocabulary, checked_words, means, own_vocabulary

__all__ = ["penalised_hit_rate"]


def penalised_hit_rate(
    predictions: Sequence[Sequence[str]],
    targets: Sequence[str],
    *,
    vocabulary: Vocabulary | None = None,
    among: Literal["all", "targets"] = "all",
    unknown: Literal["drop", "keep"] = "drop",
) -> float:
    """Mean over wheels and rows of (1 if the label's ring is among the predicted ones) / (number of predicted rings).

    One right word earns 1, the right one among four rings 1/4; a guess that lists all R rings earns 1 / R, as does a single random one.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N, any) | words of each row |
    | `targets` | (N,) | one label each |
    | `vocabulary` | | words and wheels; None takes our own |
    | `among` | | `targets`: only rings that some target has are counted, the "mscore" that MER-UniBench's code prints beside the hit rate |
    | `unknown` | | `keep`: a word outside the vocabulary stands for itself and is counted |

    Raises:
        ConfigError: lengths do not fit, or a row is no list of words.
    """
    labels = [[t] for t in targets]
    checked_words(predictions, labels, "penalised_hit_rate")
    known, keep = vocabulary or own_vocabulary(), unknown == "keep"
    each = []
    for wheel in known.wheels:
        candidates = known.rings(targets, wheel, keep=keep)
        rows = []
        for said, true in known.pairs(predictions, labels, wheel, keep=keep):
            counted = said & candidates if among == "targets" else said
            if true:
                rows.append([len(said & true) / len(counted) if counted else 0.0])
        each.append((means(rows) or [0.0])[0])
    return sum(each) / len(each)
