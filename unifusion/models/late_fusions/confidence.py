"""Late fusion `confidence`: the surer a model is of an example, the more it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from unifusion.errors import ConfigError, nearest
from unifusion.models.late_fusions._common import Mixture, fit_temperatures, fits, matched, numbers, shares
from unifusion.models.late_fusions.late_fusion import LateFusion, Said

__all__ = ["Confidence"]

_KINDS = ("entropy", "max")


class Confidence(Mixture):
    """Weights an example from how sure each model is of it, after its answers were made honest by a temperature.

    A model that knows nothing gets a high temperature, so it is never sure and hardly counts. Temperatures: Guo et al., "On calibration of
    modern neural networks" (2017).

    Args:
        config: see Config.
    """

    @dataclass(kw_only=True)
    class Config(LateFusion.Config):
        """Choices."""

        by: str = "entropy"
        """`entropy`: 1 less the entropy over that of K equal shares; `max`: the top probability, 0 at 1 / K and 1 at 1."""
        sharpness: float = 1.0
        """Power of the confidence."""

        def __post_init__(self) -> None:
            """Refuse what is no choice."""
            if self.by not in _KINDS:
                raise ConfigError(f"confidence by {self.by!r};", remedy=nearest(self.by, list(_KINDS)))

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.temperatures_M = np.zeros(0)

    def fit(self, said: Said, truth_N: np.ndarray, groups_N: np.ndarray) -> Self:
        """Fit a temperature a model on N examples.

        Raises:
            DatasetError: too few examples or labels.
        """
        said, truth_N, _ = matched(said, truth_N, groups_N)
        self.temperatures_M = fit_temperatures(said, truth_N)
        return self

    def weights(self, said: Said) -> np.ndarray:
        """Confidences (N, M), scaled to sum to 1."""
        shown_NMK = self.shown(said)
        fits(shown_NMK, len(numbers(self.temperatures_M)))
        labels = shown_NMK.shape[2]
        if self.config.by == "max":
            sure_NM = (shown_NMK.max(axis=2) - 1 / labels) / (1 - 1 / labels)
        else:
            sure_NM = 1 + (shown_NMK * np.log(np.maximum(shown_NMK, 1e-300))).sum(axis=2) / np.log(labels)
        return shares(np.nan_to_num(np.maximum(sure_NM, 0) ** self.config.sharpness), ~np.isnan(shown_NMK).any(axis=2))

    def state(self) -> dict[str, Any]:
        """The temperatures."""
        return {"temperatures": numbers(self.temperatures_M).tolist()}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take up what `state` gave."""
        self.temperatures_M = numbers(state["temperatures"])
        return self
