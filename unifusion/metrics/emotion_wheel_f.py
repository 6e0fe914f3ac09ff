"""F_s on emotion wheels, of open-vocabulary emotion recognition (MER-UniBench, OV-MERD+, MER2025 and MER2026)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from unifusion.metrics._wheels import Vocabulary, checked_words, means, own_vocabulary

__all__ = ["emotion_wheel_f"]


@dataclass(frozen=True)
class WheelF:
    """What `emotion_wheel_f` found. All from 0 to 1."""

    value: float
    """Mean of F over the wheels: the figure papers print, times 100."""
    precision: float
    recall: float
    wheels: Mapping[str, float]
    """F on each wheel."""
    rows: int
    skipped: int
    """Rows that count on no wheel, since no word of their reference is in the vocabulary."""
    mean_size: float
    """Words a prediction, each once: long lists raise recall."""
    outside: float
    """Share of predicted words that are in no vocabulary."""


def emotion_wheel_f(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    *,
    vocabulary: Vocabulary | None = None,
    unknown: Literal["drop", "keep"] = "drop",
    undefined: float = 0.0,
) -> WheelF:
    """Mean over wheels of F of the mean precision and the mean recall over rows, each on the sets of inner rings (Lian et al. 2024, 2025).

    On each wheel P = |Y ∩ Ŷ| / |Ŷ| and R = |Y ∩ Ŷ| / |Y| of each row; both are averaged over rows first, then F = 2PR / (P + R). As
    published, words outside the vocabulary are dropped without penalty, a row whose reference has none inside is skipped, and no prediction
    earns 0.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N, any) | words of each row |
    | `references` | (N, any) | the same |
    | `vocabulary` | | words and wheels; None takes our own, by which no published number can be compared |
    | `unknown` | | `keep`: a word outside the vocabulary stands for itself, so that inventing words costs precision |
    | `undefined` | | F where P + R is 0; the code of MER2025 divides by zero there (nan), that of MER2026 says 0 |

    Raises:
        ConfigError: lengths do not fit, or a row is no list of words.
    """
    checked_words(predictions, references, "emotion_wheel_f")
    known, keep = vocabulary or own_vocabulary(), unknown == "keep"
    found: dict[str, tuple[float, float, float]] = {}
    used: set[int] = set()
    for wheel in known.wheels:
        rows = known.pairs(predictions, references, wheel, keep=keep)
        used |= {i for i, (_, true) in enumerate(rows) if true}
        pairs = [(len(said & true) / len(said) if said else 0.0, len(said & true) / len(true)) for said, true in rows if true]
        precision, recall = means(pairs) or [0.0, 0.0]
        found[wheel] = (2 * precision * recall / (precision + recall) if precision + recall else undefined, precision, recall)
    value, precision, recall = means(list(found.values()))
    sizes = [{w.lower().strip() for w in said} for said in predictions]
    words = sum(map(len, sizes))
    outside = sum(w not in known.words for said in sizes for w in said) / words if words else 0.0
    return WheelF(
        value, precision, recall, {wheel: f for wheel, (f, _, _) in found.items()}, len(references), len(references) - len(used),
        words / len(sizes), outside,
    )  # fmt: skip
