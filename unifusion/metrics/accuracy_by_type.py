"""Accuracy of each kind of question, and the mean over kinds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from unifusion.errors import ConfigError
from unifusion.metrics.accuracy import accuracy

__all__ = ["accuracy_by_type"]


@dataclass(frozen=True)
class ByType:
    """Accuracies."""

    value: float
    """Mean over kinds, each counting the same: how MVBench is told."""
    overall: float
    """Over rows: how NExT-QA and Video-MME are told."""
    types: dict[Hashable, float]
    counts: dict[Hashable, int]


def accuracy_by_type(
    predictions: Sequence[Hashable | None], targets: Sequence[Hashable], types: Sequence[Hashable]
) -> ByType:  # fmt: skip
    """Accuracy within each kind of question; None (an unparsed answer) is wrong.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | labels or indices; None where nothing could be parsed |
    | `targets` | (N,) | the same |
    | `types` | (N,) | kind of each question, `labels["type"]` |

    Raises:
        ConfigError: the lengths differ or are zero.
    """
    overall = accuracy(predictions, targets)
    if len(types) != len(targets):
        raise ConfigError(f"{len(types)} types for {len(targets)} targets;", remedy="give the kind of every question.")
    rows: dict[Hashable, list[bool]] = {}
    for said, true, kind in zip(predictions, targets, types, strict=True):
        rows.setdefault(kind, []).append(said is not None and said == true)
    each = {kind: sum(right) / len(right) for kind, right in rows.items()}
    return ByType(sum(each.values()) / len(each), overall, each, {kind: len(right) for kind, right in rows.items()})
