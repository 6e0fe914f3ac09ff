"""R@n, IoU = m of temporal grounding: how often one of the first n spans overlaps enough."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.errors import ConfigError
from unifusion.metrics.temporal_iou import temporal_iou

__all__ = ["recall_at_iou"]

Span = tuple[float, float]


def recall_at_iou(predictions: Sequence[Span | Sequence[Span] | None], targets: Sequence[Span], *, iou: float = 0.5, n: int = 1) -> float:
    """Share of rows where one of the first n predicted spans has at least this IoU with the true one (Gao et al. 2017).

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | (start_s, end_s), a list of them from best to worst, or None: an unparsed answer, which misses |
    | `targets` | (N,) | (start_s, end_s) |
    | `iou` | | least overlap, above 0; papers print 0.3, 0.5, 0.7 |
    | `n` | | spans that count |

    Raises:
        ConfigError: lengths differ or are zero, a span ends before it starts, or `iou` or `n` is out of range.
    """
    if len(predictions) != len(targets) or not len(targets):
        raise ConfigError(f"{len(predictions)} predictions for {len(targets)} targets;", remedy="give as many of each, at least one.")
    if not 0 < iou <= 1 or n < 1:
        raise ConfigError(f"recall_at_iou with IoU {iou} and n {n};", remedy="give an IoU in (0, 1] and n from 1.")
    hits = [any(temporal_iou(span, true) >= iou for span in _spans(said)[:n]) for said, true in zip(predictions, targets, strict=True)]
    return sum(hits) / len(hits)


def _spans(said: Span | Sequence[Span] | None) -> list[Span]:
    """A row's spans, the best first."""
    if not said:
        return []
    if isinstance(said[0], int | float):
        said = [(float(said[0]), float(said[1]))]  # type: ignore[arg-type]
    return [(float(span[0]), float(span[1])) for span in said]  # type: ignore[index]
