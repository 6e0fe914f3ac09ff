"""The contract of a late fusion: what several models said of the same examples becomes one answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

__all__ = ["LateFusion", "Said"]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What M models said of N examples.

    Attributes:
        probabilities_NMK: float64, over K labels; a model that said nothing of an example has NaN there.
        affect_NM2: float64 valence and arousal in [-1, 1]; NaN where nothing was said. None where no model tells them.
    """

    probabilities_NMK: np.ndarray
    affect_NM2: np.ndarray | None = None

    @property
    def there_NM(self) -> np.ndarray:
        """bool: which models said something of which example."""
        there_NM: np.ndarray = ~np.isnan(self.probabilities_NMK).any(axis=2)
        return there_NM


class LateFusion(ABC):
    """Fitted on examples that none of the models was trained on, then asked about others.

    A model that is missing for an example is left out for it, not counted as undecided; an example of which no model said anything has NaN.

    Args:
        config: the fusion's choices.
    """

    @dataclass(kw_only=True)
    class Config:
        """Choices of the fusion; `seed` of what is drawn."""

        seed: int = 0

    fitted: ClassVar[bool] = True
    """Whether `fit` learns anything: an average does not."""

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def fit(self, said: Said, truth_N: np.ndarray, groups_N: np.ndarray) -> Self:
        """Learn from N examples with the numbers of their true labels int64 (N,) and the groups (speakers) they are of (N,).

        Raises:
            DatasetError: too few examples, labels or groups.
        """

    @abstractmethod
    def fuse(self, said: Said) -> np.ndarray:
        """Probabilities float64 (N, K) that sum to 1."""

    def weights(self, said: Said) -> np.ndarray | None:
        """How much each model counted for each example, float64 (N, M), summing to 1 over those there; None where it is not known."""
        return None

    def affect(self, said: Said) -> np.ndarray | None:
        """Valence and arousal float64 (N, 2): by `weights`, or the mean of what the models said; None where none tells them."""
        if said.affect_NM2 is None:
            return None
        there_NM = ~np.isnan(said.affect_NM2).any(axis=2)
        weights_NM = self.weights(said)
        weights_NM = np.where(there_NM, 1.0 if weights_NM is None else np.nan_to_num(weights_NM), 0.0)
        weights_NM = np.where(weights_NM.sum(1, keepdims=True) > 0, weights_NM, there_NM)
        total_N1 = weights_NM.sum(1, keepdims=True)
        mean_N2: np.ndarray = (np.nan_to_num(said.affect_NM2) * weights_NM[..., None]).sum(1) / np.maximum(total_N1, 1e-12)
        return np.where(total_N1 > 0, mean_N2, np.nan)

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What was learned, as JSON has it."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> Self:
        """Take up what `state` gave."""
