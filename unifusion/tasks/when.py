"""Task: when something happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.metrics.temporal_iou import temporal_iou
from unifusion.metrics.time_error import time_error
from unifusion.prompts import SpanAnswer
from unifusion.tasks.task import Score, Task, tolerance_of

__all__ = ["When"]


class When(Task):
    """The seconds at which `texts["event"]` happens.

    The truth is `labels["span"]`, a pair (start_s, end_s), or `labels["time_s"]`, an instant. An answer is right when no border
    is further off than `labels["tolerance"]` seconds (0.5 where it is not given). Seconds count from the start of the span shown.
    """

    prompt = "when"
    metric = "within_tolerance"
    tolerance_s = 0.5

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The true borders."""
        if not with_answer:
            return {}
        start_s, end_s = self._target(example)
        return {"start_s": start_s, "end_s": end_s}

    def score(self, answer: str, example: Example) -> Score:
        """1 within the tolerance, else 0; `parsed` is (start_s, end_s), details give the error of what was read.

        Of a true span, which an instant is not, they give the overlap too: 0 where nothing was read.
        """
        target = self._target(example)
        parsed = self.parse(answer, example)
        spans = target[0] < target[1]
        if not isinstance(parsed, SpanAnswer):
            return Score(value=0.0, details={"temporal_iou": 0.0} if spans else {})
        said = (parsed.start_s, parsed.end_s)
        error_s = time_error(said, target)
        return Score(
            value=float(error_s <= tolerance_of(example, self.tolerance_s)),
            parsed=said,
            details={"time_error_s": error_s} | ({"temporal_iou": temporal_iou(said, target)} if spans else {}),
        )

    def _target(self, example: Example) -> tuple[float, float]:
        """The true span; an instant is (t, t)."""
        raw = self.truth(example, "span", "time_s")
        try:
            borders = [float(raw)] * 2 if isinstance(raw, int | float) else [float(v) for v in raw]
        except (TypeError, ValueError, OverflowError) as error:
            raise DatasetError(
                f"example {example.id!r} has time {raw!r};", remedy="give span: [start_s, end_s] or time_s: seconds."
            ) from error
        if len(borders) != 2 or not 0 <= borders[0] <= borders[1]:
            raise DatasetError(f"example {example.id!r} has span {raw!r};", remedy="give [start_s, end_s] with 0 <= start_s <= end_s.")
        return borders[0], borders[1]
