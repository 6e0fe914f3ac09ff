"""Late fusion `stacking`: a logistic regression on what the models said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from unifusion.models.late_fusions._common import checked, fit_temperatures, fits, library, logs, matched, numbers
from unifusion.models.late_fusions.late_fusion import LateFusion, Said

__all__ = ["Stacking"]


class Stacking(LateFusion):
    """Multinomial logistic regression on the models' log-probabilities (Wolpert 1992; Ting and Witten 1999).

    A model's columns are its log-probabilities less their mean, after a temperature made it honest (one that guesses aloud then has small
    columns, not large ones), and one that says it is missing, with 0 in the others. It can learn that one model is right about anger and
    another about joy, and what a model's mistakes mean; it needs more examples than weights do. A label without an example to fit on gets
    0. Its own examples flatter it: see `out_of_fold` in `_folds.py`.

    Args:
        config: see Config.
    """

    @dataclass(kw_only=True)
    class Config(LateFusion.Config):
        """Choices."""

        C: float = 0.1
        """Inverse strength of the L2 penalty, as scikit-learn has it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.coefficients_KF, self.intercepts_K, self.temperatures_M = np.zeros((0, 0)), np.zeros(0), np.zeros(0)

    def fit(self, said: Said, truth_N: np.ndarray, groups_N: np.ndarray) -> Self:
        """Fit scikit-learn's LogisticRegression on N examples.

        Raises:
            DatasetError: too few examples or labels.
        """
        said, truth_N, _ = matched(said, truth_N, groups_N)
        labels = said.probabilities_NMK.shape[2]
        regression = library("sklearn.linear_model").LogisticRegression(C=self.config.C, max_iter=2000, tol=1e-8)
        self.temperatures_M = fit_temperatures(said, truth_N)
        regression.fit(_columns(said.probabilities_NMK, self.temperatures_M), truth_N)
        kept, bias = regression.coef_, regression.intercept_
        if len(regression.classes_) == 2:  # scikit-learn keeps one row for two classes
            kept, bias = np.concatenate([-kept, kept]) / 2, np.concatenate([-bias, bias]) / 2
        self.intercepts_K = np.full(labels, -np.inf)
        self.coefficients_KF = np.zeros((labels, kept.shape[1]))
        self.coefficients_KF[regression.classes_], self.intercepts_K[regression.classes_] = kept, bias
        return self

    def fuse(self, said: Said) -> np.ndarray:
        """Probabilities (N, K)."""
        probabilities_NMK = checked(said)
        fits(probabilities_NMK, len(self.temperatures_M), len(self.intercepts_K))
        sums_NK = _columns(probabilities_NMK, self.temperatures_M) @ self.coefficients_KF.T + self.intercepts_K
        told_NK = np.exp(sums_NK - sums_NK.max(axis=1, keepdims=True))
        some_N1 = ~np.isnan(probabilities_NMK).any(axis=2).all(axis=1)[:, None]
        return np.where(some_N1, told_NK / told_NK.sum(axis=1, keepdims=True), np.nan)

    def state(self) -> dict[str, Any]:
        """Temperatures and coefficients; the intercept of a label that had no example is null."""
        told = [None if np.isinf(b) else float(b) for b in self.intercepts_K]
        return {"temperatures": self.temperatures_M.tolist(), "coefficients": self.coefficients_KF.tolist(), "intercepts": told}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take up what `state` gave."""
        self.temperatures_M, self.coefficients_KF = numbers(state["temperatures"]), numbers(state["coefficients"])
        self.intercepts_K = numbers([-np.inf if b is None else b for b in state["intercepts"]])
        return self


def _columns(probabilities_NMK: np.ndarray, temperatures_M: np.ndarray) -> np.ndarray:
    """What the regression reads (N, M (K + 1))."""
    logs_NMK = logs(probabilities_NMK) / temperatures_M[:, None]
    missing_NM1 = np.isnan(probabilities_NMK).any(axis=2)[..., None]
    centred_NMK = logs_NMK - logs_NMK.mean(axis=2, keepdims=True)
    columns: np.ndarray = np.concatenate([np.where(missing_NM1, 0.0, centred_NMK), missing_NM1], axis=2).reshape(len(logs_NMK), -1)
    return columns
