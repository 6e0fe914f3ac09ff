"""A module of `evaluate`: the metric of unifusion.metrics that this file is called after. All files beside it are the same."""

from __future__ import annotations

from typing import Any

import evaluate

from unifusion.evaluation import modules


class Metric(evaluate.Metric):
    """Computes it; `description` and `inputs_description` say what it takes."""

    def _info(self) -> evaluate.MetricInfo:
        """Columns and description."""
        return evaluate.MetricInfo(**modules.information(__name__))

    def _compute(self, **inputs: Any) -> dict[str, Any]:
        """The value by the metric's name, and what belongs to it."""
        return modules.compute(__name__, inputs)
