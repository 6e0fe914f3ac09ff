"""Task: when something happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.metrics.temporal_iou import temporal_iou
from unifusion.metrics.time_error import time_error
from unifusion.prompts import SpanAnswer
from unifusion.tasks.task import Score, Task

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
        """1 within the tolerance, else 0; `parsed` is (start_s, end_s), details give the error and the overlap."""
        target = self._target(example)
        parsed = self.parse(answer, example)
        if not isinstance(parsed, SpanAnswer):
            return Score(value=0.0)
        said = (parsed.start_s, parsed.end_s)
        error_s = time_error(said, target)
        given = example.labels.get("tolerance")
        tolerance_s = self.tolerance_s if given is None else float(given)
        # 1e-6: an error of exactly the tolerance counts, whatever the last bit of the subtraction.
        return Score(
            value=float(error_s <= tolerance_s + 1e-6),
            parsed=said,
            details={"time_error_s": error_s, "temporal_iou": temporal_iou(said, target)},
        )

    def _target(self, example: Example) -> tuple[float, float]:
        """The true span; an instant is (t, t)."""
        raw = self.truth(example, "span", "time_s")
        try:
            borders = [float(raw)] * 2 if isinstance(raw, int | float) else [float(v) for v in raw]
        except (TypeError, ValueError) as error:
            raise DatasetError(
                f"example {example.id!r} has time {raw!r};", remedy="give span: [start_s, end_s] or time_s: seconds."
            ) from error
        if len(borders) != 2 or not 0 <= borders[0] <= borders[1]:
            raise DatasetError(f"example {example.id!r} has span {raw!r};", remedy="give [start_s, end_s] with 0 <= start_s <= end_s.")
        return borders[0], borders[1]
