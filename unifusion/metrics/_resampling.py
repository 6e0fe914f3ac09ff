"""Draws that figures over thousands of resamples share, as matrices: how often each unit counts, which units are swapped.

A figure that depends on sums over rows alone (recalls, F1, CCC, calibration) is then one product of matrices for all resamples, where
`bootstrap` and `paired_permutation` compute it anew from the rows of each. The draws are theirs, so the results are too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

__all__ = ["group_draws", "holm", "nested_draws", "swap_draws"]

BLOCK = 2_000_000
"""Numbers of a matrix at a time: 16 MB."""


def group_draws(groups: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of G groups was drawn, float64 (r, G), in blocks of resamples; the same draws as `bootstrap`'s."""
    rng = np.random.default_rng(seed)
    for r in _blocks(groups, resamples):
        picks_RG = rng.integers(groups, size=(r, groups))
        yield _counted(picks_RG + groups * np.arange(r)[:, None], r, groups)


def nested_draws(group_U: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of U units was drawn where groups are drawn and, each time one is, its units: float64 (r, U) in blocks.

    | input | shape | meaning |
    |---|---|---|
    | `group_U` | (U,) | number of the group of each unit, 0 to G - 1, none of them empty |
    """
    rng = np.random.default_rng(seed)
    order_U, sizes_G = np.argsort(group_U, kind="stable"), np.bincount(group_U)
    starts_G, units = np.cumsum(sizes_G) - sizes_G, len(group_U)
    for r in _blocks(units, resamples):
        picks = rng.integers(len(sizes_G), size=(r, len(sizes_G))).ravel()
        again = np.repeat(picks, sizes_G[picks])
        resample = np.repeat(np.repeat(np.arange(r), len(sizes_G)), sizes_G[picks])
        place = starts_G[again] + (rng.random(len(again)) * sizes_G[again]).astype(np.int64)
        yield _counted(resample * units + order_U[place], r, units)


def swap_draws(units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Which of U units are swapped, 0 or 1 as float64 (r, U), in blocks; the same draws as `paired_permutation`'s."""
    rng = np.random.default_rng(seed)
    for r in _blocks(units, resamples):
        yield rng.integers(2, size=(r, units)).astype(np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false claim at the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = reached
    return adjusted


def _blocks(width: int, resamples: int) -> Iterator[int]:
    """Sizes of the blocks that the resamples are made in."""
    step = max(1, BLOCK // width)
    yield from (min(step, resamples - start) for start in range(0, resamples, step))


def _counted(places: np.ndarray, rows: int, width: int) -> np.ndarray:
    """How often each place of a matrix is named."""
    return np.bincount(places.ravel(), minlength=rows * width).reshape(rows, width).astype(np.float64)
