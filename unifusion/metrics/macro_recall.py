"""Macro recall (in emotion papers: UAR, UA; balanced accuracy)."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence

from unifusion.errors import ConfigError

__all__ = ["macro_recall"]


def macro_recall(predictions: Sequence[Hashable | None], targets: Sequence[Hashable], *, labels: Sequence[Hashable] | None = None) -> float:
    """Mean over classes of the share of the class that is found; None (an unparsed answer) is wrong.

    Equals sklearn's `recall_score(average="macro", labels=labels, zero_division=0)`; without `labels`, `balanced_accuracy_score`.

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
    recalls = []
    for name in classes:
        own = [p == name for p, t in zip(predictions, targets, strict=True) if t == name]
        if not own:
            warnings.warn(f"macro_recall: no target is {name!r}; it counts 0", RuntimeWarning, stacklevel=2)
        recalls.append(sum(own) / len(own) if own else 0.0)
    return sum(recalls) / len(recalls)
