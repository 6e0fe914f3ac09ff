"""Folds by groups: what a fitted fusion says of the very examples it was fitted on flatters it, so they are answered by others' fits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from unifusion.errors import DatasetError
from unifusion.models.late_fusions._common import library
from unifusion.models.late_fusions.late_fusion import LateFusion, Said

__all__ = ["folds_of", "out_of_fold", "taken"]


def folds_of(groups_N: np.ndarray, folds: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit on and rows to answer, fold by fold; no group is on both sides (scikit-learn's GroupKFold).

    With fewer groups than folds there are as many folds as groups; of a single group the rows themselves are folded.

    Raises:
        DatasetError: there are fewer than two rows.
    """
    groups_N = np.asarray(groups_N)
    if len(groups_N) < 2 or folds < 2:
        raise DatasetError(f"{folds} folds of {len(groups_N)} examples;", remedy="give two or more of each.")
    numbers_N = np.unique(groups_N, return_inverse=True)[1]
    if numbers_N.max() == 0:
        numbers_N = np.arange(len(groups_N))
    count = min(folds, int(numbers_N.max()) + 1)
    yield from library("sklearn.model_selection").GroupKFold(count).split(numbers_N, groups=numbers_N)


def out_of_fold(
    fusion: LateFusion, said: Said, truth_N: np.ndarray, groups_N: np.ndarray, *, folds: int = 5
) -> tuple[np.ndarray, np.ndarray | None]:
    """What a fusion says of examples when it is fitted on those of other groups.

    Args:
        fusion: its class and choices are taken, not what it learned.
        said: by the models.
        truth_N: numbers of the true labels (N,).
        groups_N: speakers, conversations (N,).
        folds: at most so many.

    Returns:
        probabilities (N, K), and valence and arousal (N, 2) where models tell them.

    Raises:
        DatasetError: too few examples, or labels in some fold.
    """
    told_NK = np.full((len(truth_N), said.probabilities_NMK.shape[2]), np.nan)
    affect_N2 = None if said.affect_NM2 is None else np.full((len(truth_N), 2), np.nan)
    for fit_N, ask_N in folds_of(groups_N, folds):
        fresh = type(fusion)(fusion.config).fit(taken(said, fit_N), np.asarray(truth_N)[fit_N], np.asarray(groups_N)[fit_N])
        told_NK[ask_N] = fresh.fuse(taken(said, ask_N))
        felt = fresh.affect(taken(said, ask_N))
        if affect_N2 is not None and felt is not None:
            affect_N2[ask_N] = felt
    return told_NK, affect_N2


def taken(said: Said, rows_N: np.ndarray) -> Said:
    """What was said of some examples."""
    return Said(
        probabilities_NMK=said.probabilities_NMK[rows_N], affect_NM2=None if said.affect_NM2 is None else said.affect_NM2[rows_N]
    )  # fmt: skip
