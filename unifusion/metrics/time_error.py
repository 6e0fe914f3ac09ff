"""How far an answered time is from the true one."""

from __future__ import annotations

import math

__all__ = ["time_error"]


def time_error(prediction: tuple[float, float] | None, target: tuple[float, float]) -> float:
    """The larger of the errors in seconds of start and end; infinite for None (an unparsed answer).

    Give an instant as (t, t). `time_error(p, t) <= 0.5` is "right within half a second" for both borders.

    | input | shape | meaning |
    |---|---|---|
    | `prediction` | (start_s, end_s) | or None |
    | `target` | (start_s, end_s) | |
    """
    if prediction is None:
        return math.inf
    return max(abs(prediction[0] - target[0]), abs(prediction[1] - target[1]))
