"""Late fusion `averaging`: the mean of what the models said."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from unifusion.models.late_fusions._common import Mixture, checked, shares
from unifusion.models.late_fusions.late_fusion import Said

__all__ = ["Averaging"]


class Averaging(Mixture):
    """The sum rule of Kittler et al., "On combining classifiers" (1998): every model that is there counts the same."""

    fitted: ClassVar[bool] = False

    def fit(self, said: Said, truth_N: np.ndarray, groups_N: np.ndarray) -> Self:
        """Learn nothing from N examples."""
        return self

    def weights(self, said: Said) -> np.ndarray:
        """Equal weights (N, M) over the models that are there."""
        there_NM = ~np.isnan(checked(said)).any(axis=2)
        return shares(np.ones(there_NM.shape[1]), there_NM)

    def state(self) -> dict[str, Any]:
        """Nothing was learned."""
        return {}

    def restore(self, state: dict[str, Any]) -> Self:
        """Nothing is taken up."""
        return self
