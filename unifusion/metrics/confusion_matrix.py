"""What was told where: a confusion matrix."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["confusion_matrix"]


def confusion_matrix(predictions: Sequence[Hashable | None], targets: Sequence[Hashable], *, labels: Sequence[Hashable]) -> np.ndarray:
    """Return counts (V, V + 1) int64: a row a true class, a column a told one, in the order of `labels`; the last is none of them.

    The first V columns equal sklearn's `confusion_matrix(labels=labels)`; the last holds unparsed answers (None) and strange labels, which
    sklearn drops, so that every row sums to its class.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | labels; None where nothing could be parsed |
    | `targets` | (N,) | labels |
    | `labels` | (V,) | all different |

    Raises:
        ConfigError: the lengths differ, labels stand twice, or a target is not among them.
    """
    place = {name: i for i, name in enumerate(labels)}
    if len(predictions) != len(targets) or len(place) != len(labels):
        found = f"{len(predictions)} predictions for {len(targets)} targets over labels {list(labels)};"
        raise ConfigError(found, remedy="give as many of each, and every label once.")
    if stray := [t for t in targets if t not in place]:
        raise ConfigError(f"target {stray[0]!r} is not among labels {list(labels)};", remedy="pin all classes.")
    counts = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for told, true in zip(predictions, targets, strict=True):
        counts[place[true], len(labels) if told is None else place.get(told, len(labels))] += 1
    return counts
