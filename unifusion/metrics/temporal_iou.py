"""Overlap of two spans of time."""

from __future__ import annotations

from unifusion.errors import ConfigError

__all__ = ["temporal_iou"]


def temporal_iou(prediction: tuple[float, float] | None, target: tuple[float, float]) -> float:
    """Seconds both spans cover over seconds either covers (Gao et al. 2017); None (an unparsed answer) is 0.

    Two equal instants overlap wholly (1); an instant and a span not at all (0).

    | input | shape | meaning |
    |---|---|---|
    | `prediction` | (start_s, end_s) | or None |
    | `target` | (start_s, end_s) | |

    Raises:
        ConfigError: a span ends before it starts.
    """
    for span in (prediction, target):
        if span is not None and not span[0] <= span[1]:
            raise ConfigError(f"span {span} ends before it starts;", remedy="give (start_s, end_s).")
    if prediction is None:
        return 0.0
    both = max(0.0, min(prediction[1], target[1]) - max(prediction[0], target[0]))
    either = (prediction[1] - prediction[0]) + (target[1] - target[0]) - both
    return both / either if either > 0 else float(tuple(prediction) == tuple(target))
