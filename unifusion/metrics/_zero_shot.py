"""What zero-shot figures share: classes as vectors, and which class a vector is nearest to."""

from __future__ import annotations

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["class_vectors", "nearest_class"]


def class_vectors(prompts_VPD: np.ndarray) -> np.ndarray:
    """One vector (V, D) of length one for each class: the mean over its P prompts, each of length one (Radford et al. 2021, 3.1.4).

    Raises:
        ConfigError: the prompts of a class cancel out.
    """
    mean_VD = np.asarray(prompts_VPD, dtype=np.float64).mean(axis=1)
    length_V = np.linalg.norm(mean_VD, axis=1)
    if not (length_V > 1e-12).all():
        raise ConfigError("the vectors of a class's prompts cancel out;", remedy="give other prompt templates.")
    return np.asarray(mean_VD / length_V[:, None])


def nearest_class(vectors_ND: np.ndarray, classes_VD: np.ndarray, targets_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index (N,) of the class told for each row, and the scores (N, V) float32.

    A true class that shares the highest score with another is not told: equal vectors everywhere are never right.

    Raises:
        ConfigError: shapes that do not fit, numbers that are not finite, fewer than two classes, or a target that is none of them.
    """
    rows, classes, targets = np.asarray(vectors_ND), np.asarray(classes_VD), np.asarray(targets_N)
    fits = rows.ndim == classes.ndim == 2 and rows.shape[1:] == classes.shape[1:] and targets.shape == rows.shape[:1] and len(rows)
    if not fits or len(classes) < 2 or targets.min() < 0 or targets.max() >= len(classes):
        found = f"vectors of shape {rows.shape}, classes of shape {classes.shape}, targets of shape {targets.shape};"
        raise ConfigError(found, remedy="give (N, D), (V, D) with V of 2 or more, and N indices below V.")
    scores_NV = (rows.astype(np.float64) @ classes.astype(np.float64).T).astype(np.float32)
    if not np.isfinite(scores_NV).all():
        raise ConfigError("vectors that are not finite;", remedy="look for overflow in the model or a loss that was not finite.")
    true_N = scores_NV[np.arange(len(rows)), targets]
    others_NV = scores_NV.copy()
    others_NV[np.arange(len(rows)), targets] = -np.inf
    return np.where(others_NV.max(axis=1) >= true_N, others_NV.argmax(axis=1), targets), scores_NV
