"""Accuracy of classification by the words for the classes."""

from __future__ import annotations

import numpy as np

from unifusion.metrics._zero_shot import class_vectors, nearest_class

__all__ = ["zero_shot_accuracy"]


def zero_shot_accuracy(vectors_ND: np.ndarray, classes: np.ndarray, targets_N: np.ndarray) -> float:
    """Share of rows nearest to the vector of their own class; one that shares the first place is wrong. Chance is 1 / V.

    | input | shape | meaning |
    |---|---|---|
    | `vectors_ND` | (N, D) | rows, of length one |
    | `classes` | (V, D) or (V, P, D) | a vector a class, or of each of its P prompts (their mean is taken) |
    | `targets_N` | (N,) int | index of the true class |

    Raises:
        ConfigError: shapes that do not fit, numbers that are not finite, fewer than two classes, or a target that is none of them.
    """
    told = np.asarray(classes)
    told_N, _ = nearest_class(vectors_ND, class_vectors(told) if told.ndim == 3 else told, targets_N)
    return float((told_N == np.asarray(targets_N)).mean())
