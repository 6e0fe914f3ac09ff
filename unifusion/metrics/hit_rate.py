"""Hit rate of basic emotions under open vocabularies (MER-UniBench)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unifusion.metrics._wheels import Vocabulary, checked_words, means, own_vocabulary

__all__ = ["hit_rate"]


@dataclass(frozen=True)
class HitRate:
    """What `hit_rate` found."""

    value: float
    """Mean over wheels, 0 to 1."""
    wheels: Mapping[str, float]
    rows: int
    skipped: int
    """Rows whose label is on no wheel: as published, `neutral` is among them."""
    mean_size: float
    """Words a prediction, each once. Print it: nothing in the hit rate speaks against listing every emotion there is."""


def hit_rate(
    predictions: Sequence[Sequence[str]],
    targets: Sequence[str],
    *,
    vocabulary: Vocabulary | None = None,
    unknown: Literal["drop", "keep"] = "drop",
) -> HitRate:
    """Share of rows where the ring of the true label is among those of the predicted words; mean over rows, then over wheels.

    As published (Lian et al. 2025) a row whose label is on no wheel is skipped. Long lists lower `penalised_hit_rate`, not this.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N, any) | words of each row |
    | `targets` | (N,) | one label each |
    | `vocabulary` | | words and wheels; None takes our own |
    | `unknown` | | `keep`: a word outside the vocabulary stands for itself, so that no row is skipped |

    Raises:
        ConfigError: lengths do not fit, or a row is no list of words.
    """
    labels = [[t] for t in targets]
    checked_words(predictions, labels, "hit_rate")
    known, keep = vocabulary or own_vocabulary(), unknown == "keep"
    found: dict[str, float] = {}
    used: set[int] = set()
    for wheel in known.wheels:
        rows = known.pairs(predictions, labels, wheel, keep=keep)
        used |= {i for i, (_, true) in enumerate(rows) if true}
        found[wheel] = (means([[float(true <= said)] for said, true in rows if true]) or [0.0])[0]
    size = sum(len({w.lower().strip() for w in said}) for said in predictions) / len(predictions)
    return HitRate(sum(found.values()) / len(found), found, len(targets), len(targets) - len(used), size)
