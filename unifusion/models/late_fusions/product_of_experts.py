"""Late fusion `product_of_experts`: a weighted product of what the models said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from unifusion.models.late_fusions._common import checked, fits, library, logs, matched, numbers, shares
from unifusion.models.late_fusions.late_fusion import LateFusion, Said

__all__ = ["ProductOfExperts"]


class ProductOfExperts(LateFusion):
    """Logarithms of the answers are summed by weights from 0 on, and made to sum to 1 (Hinton 2002; a logarithmic opinion pool).

    Weights that sum to 1 give the weighted geometric mean; ones above make the product surer than its experts, as it should be where they
    err independently. A model that is missing is a factor of 1. Every answer is softened by a thousandth, so that no expert has a veto.

    Args:
        config: see Config.
    """

    @dataclass(kw_only=True)
    class Config(LateFusion.Config):
        """Choices."""

        ridge: float = 1.0
        """How many examples the wish for the plain geometric mean counts as."""
        divide_prior: bool = False
        """Experts that were trained on the same share of labels each count it once; the fused answer counts it once in all."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.weights_M, self.log_prior_K = np.zeros(0), np.zeros(0)

    def fit(self, said: Said, truth_N: np.ndarray, groups_N: np.ndarray) -> Self:
        """Find the weights with the least cross-entropy on N examples; the problem is convex (L-BFGS-B, weights from 0 on).

        Raises:
            DatasetError: too few examples or labels.
        """
        said, truth_N, _ = matched(said, truth_N, groups_N)
        models, labels = said.probabilities_NMK.shape[1:]
        counts_K = np.bincount(truth_N, minlength=labels) + 1.0
        self.log_prior_K = np.log(counts_K / counts_K.sum()) if self.config.divide_prior else np.zeros(labels)
        logs_NMK = self._factors(said.probabilities_NMK)
        rows_N, ridge = np.arange(len(truth_N)), self.config.ridge / len(truth_N)

        def lost(w_M: np.ndarray) -> tuple[float, np.ndarray]:
            """Mean cross-entropy with the ridge, and its gradient (M,)."""
            sums_NK = np.einsum("nmk,m->nk", logs_NMK, w_M) + self.log_prior_K
            told_NK = sums_NK - np.logaddexp.reduce(sums_NK, axis=1, keepdims=True)
            off_M = w_M - 1 / models
            mean_NM = np.einsum("nmk,nk->nm", logs_NMK, np.exp(told_NK))
            slope_M = (mean_NM - logs_NMK[rows_N, :, truth_N]).mean(axis=0) + 2 * ridge * off_M
            return float(-told_NK[rows_N, truth_N].mean() + ridge * (off_M**2).sum()), slope_M

        found = library("scipy.optimize").minimize(
            lost, np.full(models, 1 / models), jac=True, bounds=[(0, None)] * models, method="L-BFGS-B",
            options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000},
        )  # fmt: skip
        self.weights_M = np.maximum(found.x, 0)
        return self

    def _factors(self, probabilities_NMK: np.ndarray) -> np.ndarray:
        """Logarithms (N, M, K) less that of the prior; 0 for a model that is not there."""
        there_NM1 = ~np.isnan(probabilities_NMK).any(axis=2)[..., None]
        return np.where(there_NM1, logs(probabilities_NMK) - self.log_prior_K, 0.0)

    def fuse(self, said: Said) -> np.ndarray:
        """Probabilities (N, K); where only models of weight 0 are there, their geometric mean."""
        probabilities_NMK = checked(said)
        fits(probabilities_NMK, len(self.weights_M), len(self.log_prior_K))
        there_NM = ~np.isnan(probabilities_NMK).any(axis=2)
        weights_NM = np.where(there_NM, self.weights_M, 0.0)
        weights_NM = np.where(weights_NM.sum(axis=1, keepdims=True) > 0, weights_NM, shares(self.weights_M, there_NM))
        sums_NK = (self._factors(probabilities_NMK) * weights_NM[..., None]).sum(axis=1) + self.log_prior_K
        told_NK: np.ndarray = np.exp(sums_NK - np.logaddexp.reduce(sums_NK, axis=1, keepdims=True))
        return np.where(there_NM.any(axis=1, keepdims=True), told_NK / told_NK.sum(axis=1, keepdims=True), np.nan)

    def weights(self, said: Said) -> np.ndarray:
        """The weights (N, M), scaled to sum to 1 over the models that are there."""
        probabilities_NMK = checked(said)
        fits(probabilities_NMK, len(self.weights_M), len(self.log_prior_K))
        return shares(self.weights_M, ~np.isnan(probabilities_NMK).any(axis=2))

    def state(self) -> dict[str, Any]:
        """The weights and the logarithm of the prior (zeros where it is not divided by)."""
        return {"weights": self.weights_M.tolist(), "log_prior": self.log_prior_K.tolist()}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take up what `state` gave."""
        self.weights_M, self.log_prior_K = numbers(state["weights"]), numbers(state["log_prior"])
        return self
