"""Weighted F1 of positive against negative, as CMU-MOSI, CMU-MOSEI and SIMS are scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from unifusion.errors import ConfigError
from unifusion.metrics.accuracy import accuracy
from unifusion.metrics.weighted_f1 import weighted_f1

__all__ = ["sentiment_waf"]


@dataclass(frozen=True)
class Sentiment:
    """What `sentiment_waf` found."""

    value: float
    """Weighted F1 of the two classes."""
    accuracy: float
    rows: int
    """Rows that count: the neutral ones among the targets are left out."""
    neutral: int
    """Predictions of 0 among them."""
    unparsed: int


def sentiment_waf(
    predictions: Sequence[float | None], targets: Sequence[float], *, neutral: Literal["negative", "positive", "wrong"] = "negative"
) -> Sentiment:  # fmt: skip
    """Leave out targets of 0, take the sign of the others, and weigh F1 of both signs by how many there are (Zadeh et al. 2016).

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | numbers of which the sign counts; 1, 0, -1 for positive, neutral, negative in words; None: unparsed, wrong |
    | `targets` | (N,) | numbers, -3 to 3 in MOSI and MOSEI, -1 to 1 in SIMS |
    | `neutral` | | what a prediction of 0 is: `negative` as published (`> 0` is asked of it), `positive` (`>= 0`), or `wrong` |

    Raises:
        ConfigError: lengths differ, a target is no number, or all of them are 0.
    """
    if len(predictions) != len(targets) or not all(math.isfinite(t) for t in targets):
        found = f"sentiment_waf of {len(predictions)} predictions for {len(targets)} targets;"
        raise ConfigError(found, remedy="give as many of each, the targets finite numbers.")
    rows = [(p, t > 0) for p, t in zip(predictions, targets, strict=True) if t != 0]
    if not rows:
        raise ConfigError(f"sentiment_waf: none of {len(targets)} targets has a sign;", remedy="give rows that are not neutral.")
    zero = {"negative": False, "positive": True, "wrong": None}[neutral]
    said = [None if p is None or math.isnan(p) else zero if p == 0 else p > 0 for p, _ in rows]
    true = [t for _, t in rows]
    unparsed = sum(p is None or math.isnan(p) for p, _ in rows)
    return Sentiment(weighted_f1(said, true), accuracy(said, true), len(rows), sum(p == 0 for p, _ in rows), unparsed)
