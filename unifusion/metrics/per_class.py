"""Precision, recall and F1 of each class."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from unifusion.errors import ConfigError

__all__ = ["per_class"]


def per_class(
    predictions: Sequence[Hashable | None], targets: Sequence[Hashable], *, labels: Sequence[Hashable] | None = None
) -> dict[Hashable, dict[str, float]]:  # fmt: skip
    """Return class -> `precision`, `recall`, `f1`, `support` (targets of the class); None (an unparsed answer) is wrong.

    Equals sklearn's `precision_recall_fscore_support(labels=labels, zero_division=0)`: a class that is never told has precision 0, one
    without a target recall 0.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | labels; None where nothing could be parsed |
    | `targets` | (N,) | labels |
    | `labels` | (V,) | pins the classes and their order; default those among the targets, as they come |

    Raises:
        ConfigError: the lengths differ or are zero, or a target is not among `labels`.
    """
    if len(predictions) != len(targets) or not targets:
        raise ConfigError(f"{len(predictions)} predictions for {len(targets)} targets;", remedy="give as many of each, at least one.")
    classes = list(dict.fromkeys(targets if labels is None else labels))
    if stray := [t for t in targets if t not in classes]:
        raise ConfigError(f"target {stray[0]!r} is not among labels {classes};", remedy="pin all classes.")
    told: dict[Hashable, dict[str, float]] = {}
    for name in classes:
        hits = sum(p == name and t == name for p, t in zip(predictions, targets, strict=True))
        given, support = sum(p == name for p in predictions), sum(t == name for t in targets)
        told[name] = {
            "precision": hits / given if given else 0.0, "recall": hits / support if support else 0.0,
            "f1": 2 * hits / (given + support) if given + support else 0.0, "support": support,
        }  # fmt: skip
    return told
