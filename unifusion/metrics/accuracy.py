"""Accuracy (in emotion papers: WA, WAR)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from unifusion.errors import ConfigError

__all__ = ["accuracy"]


def accuracy(predictions: Sequence[Hashable | None], targets: Sequence[Hashable]) -> float:
    """Share of predictions equal to their target; None (an unparsed answer) is wrong.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | labels; None where nothing could be parsed |
    | `targets` | (N,) | labels |

    Raises:
        ConfigError: the lengths differ or are zero.
    """
    if len(predictions) != len(targets) or not targets:
        raise ConfigError(f"{len(predictions)} predictions for {len(targets)} targets;", remedy="give as many of each, at least one.")
    return sum(p is not None and p == t for p, t in zip(predictions, targets, strict=True)) / len(targets)
