"""What late fusions share: checked input, logarithms and temperatures, shares over the models that are there, mixtures."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from typing import Any

import numpy as np

from unifusion.errors import ConfigError, DatasetError
from unifusion.models.late_fusions.late_fusion import LateFusion, Said

__all__ = ["Mixture", "checked", "fit_temperatures", "fits", "library", "logs", "matched", "mixed", "numbers", "shares", "tempered"]

_FLOOR = 1e-3
"""Of every answer this share is taken as spread over all labels where logarithms are built: a label that a model does not know is
unlikely, not impossible."""
_LEAST = 1e-12
_LOG_T = (float(np.log(0.05)), float(np.log(20.0)))


def library(name: str) -> Any:
    """A module of SciPy or scikit-learn.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"this late fusion needs {name.split('.')[0]};", remedy="pip install 'unifusion-x[eval]'.") from error


def checked(said: Said) -> np.ndarray:
    """Probabilities float64 (N, M, K), each row of a model that is there summing to 1; NaN where a model is not there.

    Raises:
        DatasetError: they are no probabilities of at least two labels by at least one model.
    """
    raw_NMK = np.asarray(said.probabilities_NMK, dtype=np.float64)
    if raw_NMK.ndim != 3 or raw_NMK.shape[1] < 1 or raw_NMK.shape[2] < 2:
        raise DatasetError(f"late fusion of probabilities of shape {raw_NMK.shape};", remedy="give (examples, models, two or more labels).")
    there_NM = Said(probabilities_NMK=raw_NMK).there_NM
    sums_NM = np.where(there_NM, raw_NMK.sum(axis=2), 1.0)
    good = raw_NMK[there_NM]
    if not np.isfinite(good).all() or (good < 0).any() or (sums_NM <= 0).any():
        raise DatasetError("late fusion: a model's probabilities are negative, infinite or all 0;", remedy="give softmax outputs.")
    found_NMK: np.ndarray = np.where(there_NM[..., None], raw_NMK / sums_NM[..., None], np.nan)
    return found_NMK


def matched(said: Said, truth_N: np.ndarray, groups_N: np.ndarray) -> tuple[Said, np.ndarray, np.ndarray]:
    """What can be learned from: the examples of which some model said something, with their truth and groups.

    Raises:
        DatasetError: lengths differ, a label's number is out of range, or fewer than two different labels are left.
    """
    probabilities_NMK = checked(said)
    truth_N, groups_N = np.asarray(truth_N), np.asarray(groups_N)
    count, labels = len(probabilities_NMK), probabilities_NMK.shape[2]
    if truth_N.shape != (count,) or groups_N.shape != (count,):
        found = f"{count} examples, truth of shape {truth_N.shape}, groups of shape {groups_N.shape};"
        raise DatasetError(found, remedy="give one label and one group an example.")
    if count and (truth_N.min() < 0 or truth_N.max() >= labels):
        raise DatasetError(f"true labels {truth_N.min()} to {truth_N.max()} of {labels};", remedy="number labels from 0.")
    kept_N = ~np.isnan(probabilities_NMK).any(axis=2).all(axis=1)
    if len(np.unique(truth_N[kept_N])) < 2:
        found = f"{int(kept_N.sum())} examples to fit on with {len(np.unique(truth_N[kept_N]))} different labels;"
        raise DatasetError(found, remedy="give held-out examples of at least two labels that some model answered.")
    affect = None if said.affect_NM2 is None else said.affect_NM2[kept_N]
    return Said(probabilities_NMK=probabilities_NMK[kept_N], affect_NM2=affect), truth_N[kept_N].astype(np.int64), groups_N[kept_N]


def logs(probabilities_NMK: np.ndarray) -> np.ndarray:
    """Logarithms (N, M, K) of answers softened by `_FLOOR`; 0 for a model that is not there."""
    labels = probabilities_NMK.shape[2]
    logs_NMK: np.ndarray = np.nan_to_num(np.log((1 - _FLOOR) * probabilities_NMK + _FLOOR / labels))
    return logs_NMK


def tempered(probabilities_NMK: np.ndarray, temperatures_M: np.ndarray) -> np.ndarray:
    """Answers (N, M, K) with their logarithms over a temperature a model; NaN where it is not there."""
    scaled_NMK = logs(probabilities_NMK) / temperatures_M[:, None]
    shown_NMK = np.exp(scaled_NMK - scaled_NMK.max(axis=2, keepdims=True))
    found_NMK: np.ndarray = np.where(np.isnan(probabilities_NMK), np.nan, shown_NMK / shown_NMK.sum(axis=2, keepdims=True))
    return found_NMK


def fit_temperatures(said: Said, truth_N: np.ndarray) -> np.ndarray:
    """The temperature (M,), 0.05 to 20, by which each model's answers have the least cross-entropy (Guo et al. 2017).

    A model that answered fewer than two of the examples keeps 1.
    """
    optimize = library("scipy.optimize")
    probabilities_NMK, there_NM = said.probabilities_NMK, said.there_NM
    found_M = np.ones(probabilities_NMK.shape[1])
    for m in range(len(found_M)):
        rows_N = there_NM[:, m]
        if rows_N.sum() < 2:
            continue
        logs_NK, truth = logs(probabilities_NMK[rows_N, m : m + 1])[:, 0], truth_N[rows_N]

        def lost(log_t: float, logs_NK: np.ndarray = logs_NK, truth: np.ndarray = truth) -> float:
            """Mean cross-entropy."""
            scaled_NK = logs_NK / np.exp(log_t)
            total_N = np.logaddexp.reduce(scaled_NK, axis=1)
            return float((total_N - scaled_NK[np.arange(len(truth)), truth]).mean())

        found_M[m] = np.exp(optimize.minimize_scalar(lost, bounds=_LOG_T, method="bounded", options={"xatol": 1e-8}).x)
    return found_M


def shares(weights_NM: np.ndarray, there_NM: np.ndarray) -> np.ndarray:
    """Weights (N, M) that sum to 1 over the models that are there; equal ones where all of theirs are 0; a row of 0 where none is."""
    kept_NM = np.where(there_NM, np.broadcast_to(weights_NM, there_NM.shape), 0.0)
    kept_NM = np.where(kept_NM.sum(axis=1, keepdims=True) > _LEAST, kept_NM, there_NM.astype(np.float64))
    found_NM: np.ndarray = kept_NM / np.maximum(kept_NM.sum(axis=1, keepdims=True), _LEAST)
    return found_NM


def mixed(probabilities_NMK: np.ndarray, shares_NM: np.ndarray) -> np.ndarray:
    """The mixture (N, K) of what was said; NaN where nothing was."""
    mixed_NK = (np.nan_to_num(probabilities_NMK) * shares_NM[..., None]).sum(axis=1)
    total_N1 = mixed_NK.sum(axis=1, keepdims=True)
    found_NK: np.ndarray = np.where(total_N1 > 0, mixed_NK / np.maximum(total_N1, _LEAST), np.nan)
    return found_NK


def numbers(values: Any) -> np.ndarray:
    """A float64 array from what JSON has."""
    return np.asarray(values, dtype=np.float64)


class Mixture(LateFusion):
    """A late fusion whose answer is a weighted mean of the models' (tempered) answers."""

    temperatures_M: np.ndarray | None = None
    """What each model's answers are tempered by before they are mixed; None leaves them."""

    @abstractmethod
    def weights(self, said: Said) -> np.ndarray:
        """How much each model counts for each example (N, M)."""

    def shown(self, said: Said) -> np.ndarray:
        """What the models said, tempered (N, M, K)."""
        probabilities_NMK = checked(said)
        if self.temperatures_M is None:
            return probabilities_NMK
        fits(probabilities_NMK, len(self.temperatures_M))
        return tempered(probabilities_NMK, self.temperatures_M)

    def fuse(self, said: Said) -> np.ndarray:
        """Probabilities (N, K)."""
        return mixed(self.shown(said), self.weights(said))


def fits(probabilities_NMK: np.ndarray, models: int, labels: int = 0) -> None:
    """Refuse answers of other models or labels than a fusion was fitted on.

    Raises:
        ConfigError: it is not fitted (`models` 0), or the counts differ.
    """
    if not models:
        raise ConfigError("this late fusion is not fitted;", remedy="call fit with held-out examples first, or restore.")
    shape = probabilities_NMK.shape[1:]
    if shape[0] != models or labels not in (0, shape[1]):
        found = f"answers of {shape[0]} models over {shape[1]} labels for a fusion of {models} models over {labels or 'any'} labels;"
        raise ConfigError(found, remedy="give the models and labels it was fitted on, in the same order.")
