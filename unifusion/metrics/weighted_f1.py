"""Weighted F1 (in emotion papers: WAF, WF1)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from unifusion.errors import ConfigError

__all__ = ["weighted_f1"]


def weighted_f1(predictions: Sequence[Hashable | None], targets: Sequence[Hashable]) -> float:
    """Sum over classes of (share of the class among the targets) x (F1 of the class); None (an unparsed answer) is wrong.

    Equals sklearn's `f1_score(average="weighted")`. Classes without a target have no weight, so no list needs pinning.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | labels; None where nothing could be parsed |
    | `targets` | (N,) | labels |

    Raises:
        ConfigError: the lengths differ or are zero.
    """
    if len(predictions) != len(targets) or not targets:
        raise ConfigError(f"{len(predictions)} predictions for {len(targets)} targets;", remedy="give as many of each, at least one.")
    total = 0.0
    for name in dict.fromkeys(targets):
        support = sum(t == name for t in targets)
        hits = sum(p == name and t == name for p, t in zip(predictions, targets, strict=True))
        total += support * 2 * hits / (support + sum(p == name for p in predictions))
    return total / len(targets)
