"""Macro F1: every class counts the same."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence

from unifusion.errors import ConfigError

__all__ = ["macro_f1"]


def macro_f1(predictions: Sequence[Hashable | None], targets: Sequence[Hashable], *, labels: Sequence[Hashable] | None = None) -> float:
    """Mean over classes of their F1; None (an unparsed answer) is wrong.

    Equals sklearn's `f1_score(average="macro", labels=labels, zero_division=0)`.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | labels; None where nothing could be parsed |
    | `targets` | (N,) | labels |
    | `labels` | (V,) | pins the classes of the mean; default those among the targets |

    A pinned class without a target counts 0, with a warning.

    Raises:
        ConfigError: the lengths differ or are zero, or a target is not among `labels`.
    """
    if len(predictions) != len(targets) or not targets:
        raise ConfigError(f"{len(predictions)} predictions for {len(targets)} targets;", remedy="give as many of each, at least one.")
    classes = list(dict.fromkeys(targets if labels is None else labels))
    if stray := [t for t in targets if t not in classes]:
        raise ConfigError(f"target {stray[0]!r} is not among labels {classes};", remedy="pin all classes.")
    total = 0.0
    for name in classes:
        support = sum(t == name for t in targets)
        if not support:
            warnings.warn(f"macro_f1: no target is {name!r}; it counts 0", RuntimeWarning, stacklevel=2)
            continue
        hits = sum(p == name and t == name for p, t in zip(predictions, targets, strict=True))
        total += 2 * hits / (support + sum(p == name for p in predictions))
    return total / len(classes)
