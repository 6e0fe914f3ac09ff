"""Dynamic time warping: the cheapest way through a matrix of costs."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from unifusion.errors import ConfigError

__all__ = ["dtw"]

_STEPS = ((1, 1), (1, 0), (0, 1))
"""In the order in which they are preferred at equal cost."""
_TURNED = ((1, 1), (0, 1), (1, 0))
"""The same steps where rows and columns have changed places."""


def dtw(costs_NM: np.ndarray | Tensor, *, band: int | None = None) -> tuple[np.ndarray, float]:
    """Return the cheapest path (L, 2) int64 from (0, 0) to (N - 1, M - 1), and its cost: the sum over its cells.

    A step goes down, right, or both. Of equally cheap steps to a cell a diagonal one is taken, then one down: equal costs give equal paths.

    | input | shape | meaning |
    |---|---|---|
    | costs_NM | (N, M) array or tensor | of putting n and m at the same time; may be negative, or +inf where it is forbidden |
    | band | | cells with -band <= m - n <= band + M - N are used (N <= M, else the other way round), as tslearn has it; None uses all |

    To learn from a path, index the tensor: `costs[path[:, 0], path[:, 1]].sum()`; smooth in its costs is `soft_dtw`. Memory is
    two numbers a cell, time one NumPy call for each of N + M diagonals: 30 ms for 1,000 x 1,000.

    Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition" (1978), symmetric form without weights.

    Raises:
        ConfigError: it is no matrix, it holds NaN or -inf, the band is negative, or no path is allowed.
    """
    costs = np.asarray(costs_NM.detach().double().cpu().numpy() if isinstance(costs_NM, Tensor) else costs_NM, dtype=np.float64)
    if costs.ndim != 2 or 0 in costs.shape or np.isnan(costs).any() or np.isneginf(costs).any():
        found = f"dtw of costs of shape {costs.shape}" + " with NaN or -inf" * bool(costs.size and not (costs > -np.inf).all())
        raise ConfigError(f"{found};", remedy="give a matrix (N, M) of numbers; inf forbids a cell.")
    rows, columns = costs.shape
    if band is not None:
        costs = np.where(_band(rows, columns, band), costs, np.inf)
    turned = rows > columns  # diagonals are kept as long as the shorter axis
    total_DN = _totals(costs.T if turned else costs)
    cost = float(total_DN[-1, -1])
    if np.isinf(cost):
        raise ConfigError(f"no path through {rows} x {columns} costs is allowed;", remedy="forbid fewer cells.")
    return (_path(total_DN, columns, rows, _TURNED)[:, ::-1].copy() if turned else _path(total_DN, rows, columns, _STEPS)), cost


def _band(rows: int, columns: int, band: int) -> np.ndarray:
    """Cells (N, M) bool that may be used."""
    if band < 0:
        raise ConfigError(f"the band is {band};", remedy="take 0 or more.")
    off = np.arange(columns) - np.arange(rows)[:, None]
    return (off >= -band + min(columns - rows, 0)) & (off <= band + max(columns - rows, 0))


def _totals(costs: np.ndarray) -> np.ndarray:
    """Cost of the cheapest path to cell (n, m), counted from 1, at [n + m, n]: cells of a diagonal do not need each other."""
    rows, columns = costs.shape
    total_DN = np.full((rows + columns + 1, rows + 1), np.inf)
    total_DN[0, 0] = 0.0
    flipped = costs[:, ::-1]
    for d in range(2, rows + columns + 1):
        low, high = max(1, d - columns), min(rows, d - 1)
        here = np.diagonal(flipped, columns + 1 - d)
        best = np.minimum(total_DN[d - 2, low - 1 : high], np.minimum(total_DN[d - 1, low - 1 : high], total_DN[d - 1, low : high + 1]))
        total_DN[d, low : high + 1] = here + best
    return total_DN


def _path(total_DN: np.ndarray, rows: int, columns: int, steps: tuple[tuple[int, int], ...]) -> np.ndarray:
    """The path back from the end, by the cheapest cell before each."""
    n, m, cells = rows, columns, []
    while n > 0 and m > 0:
        cells.append((n - 1, m - 1))
        before = [total_DN[n - i + m - j, n - i] for i, j in steps]
        i, j = steps[int(np.argmin(before))]
        n, m = n - i, m - j
    return np.array(cells[::-1], dtype=np.int64)
