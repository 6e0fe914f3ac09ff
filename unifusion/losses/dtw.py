"""Dynamic time warping: the cheapest way through a matrix of costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unifusion.errors import ConfigError, LimitError

if TYPE_CHECKING:  # a path is found without torch: `unifusion align` does not wait for its import
    from torch import Tensor

__all__ = ["dtw"]

MAX_CELLS = 40_000_000
"""Costs of one alignment, 320 MB: 6,300 tokens against as many, or a minute against a minute at a hundred frames a second."""
_STEPS = ((1, 1), (1, 0), (0, 1))
"""In the order in which they are preferred at equal cost."""


def dtw(costs_NM: np.ndarray | Tensor, *, band: int | None = None, subsequence: bool = False) -> tuple[np.ndarray, float]:
    """Return the cheapest path (L, 2) int64 from (0, 0) to (N - 1, M - 1), and its cost: the sum over its cells.

    A step goes down, right, or both. Of equally cheap steps to a cell a diagonal one is taken, then one down: equal costs give equal paths.

    | input | shape | meaning |
    |---|---|---|
    | costs_NM | (N, M) array or tensor | of putting n and m at the same time; may be negative, or +inf where it is forbidden |
    | band | | cells with -band <= m - n <= band + M - N are used (N <= M, else the other way round), as tslearn has it; None uses all |
    | subsequence | | the path begins and ends in any column, all rows are walked: where among the M do the N lie? Without a band |

    To learn from a path, index the tensor: `costs[path[:, 0], path[:, 1]].sum()`; smooth in its costs is `soft_dtw`. Memory is a
    byte a cell beside the costs, time a few NumPy calls for each of N + M diagonals: 25 ms for 1,000 x 1,000.

    Sakoe and Chiba, "Dynamic programming algorithm optimization for spoken word recognition" (1978), symmetric form without weights.

    Raises:
        ConfigError: it is no matrix, it holds NaN or -inf, the band is negative or goes with `subsequence`, or no path is allowed.
        LimitError: more than `MAX_CELLS` cells.
    """
    costs = np.asarray(costs_NM if isinstance(costs_NM, np.ndarray) else costs_NM.detach().double().cpu().numpy(), dtype=np.float64)
    if costs.size > MAX_CELLS:
        raise LimitError(f"dtw of costs of shape {costs.shape}, the limit is {MAX_CELLS} cells;", remedy="align shorter spans.")
    if costs.ndim != 2 or 0 in costs.shape or np.isnan(costs).any() or np.isneginf(costs).any():
        found = f"dtw of costs of shape {costs.shape}" + " with NaN or -inf" * bool(costs.size and not (costs > -np.inf).all())
        raise ConfigError(f"{found};", remedy="give a matrix (N, M) of numbers; inf forbids a cell.")
    if band is not None and (subsequence or band < 0):
        found = f"the band is {band}" + " where the ends are free (subsequence)" * subsequence
        raise ConfigError(f"{found};", remedy="take 0 or more, with fixed ends.")
    rows, columns = costs.shape
    steps_NM, ends_M = _swept(costs, _reach(rows, columns, band), subsequence)
    last = int(ends_M.argmin()) if subsequence else columns - 1
    cost = float(ends_M[last])
    if np.isinf(cost):
        raise ConfigError(f"no path through {rows} x {columns} costs is allowed;", remedy="forbid fewer cells.")
    return _path(steps_NM, last), cost


def _reach(rows: int, columns: int, band: int | None) -> tuple[int, int]:
    """Least and most of m - n of the cells that may be used."""
    if band is None:
        return 1 - rows, columns - 1
    return -band + min(columns - rows, 0), band + max(columns - rows, 0)


def _swept(costs: np.ndarray, reach: tuple[int, int], subsequence: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which of `_STEPS` leads to each cell (N, M) int8, and the cost (M,) of the cheapest path to each cell of the last row.

    A diagonal at a time: its cells do not need each other. Rows and columns are counted from 1; before them it costs nothing (there the
    path begins) or inf. Totals are those of the last two diagonals, at [n].
    """
    rows, columns = costs.shape
    flat, steps = np.ascontiguousarray(costs).ravel(), np.zeros(rows * columns, np.int8)
    ends_M = np.full(columns, np.inf)
    outside = 0.0 if subsequence else np.inf
    before, above, here = np.full((3, rows + 2), np.inf)
    before[0], above[0] = 0.0, outside
    for d in range(2, rows + columns + 1):
        low = max(1, d - columns, -((reach[1] - d) // 2))
        high = min(rows, d - 1, (d - reach[0]) // 2)
        first = (low - 1) * columns + d - low - 1
        cells = slice(first, first + (high - low) * (columns - 1) + 1 if high >= low else first, max(1, columns - 1))
        both, down = before[low - 1 : high], above[low - 1 : high]
        other = np.minimum(down, above[low : high + 1])
        steps[cells] = (both > other) * (np.int8(1) + (down > other))
        here[low : high + 1] = flat[cells] + np.minimum(both, other)
        here[low - 1], here[high + 1] = outside if low == 1 else np.inf, np.inf
        if high == rows and d > rows:
            ends_M[d - rows - 1] = here[rows]
        before, above, here = above, here, before
    return steps.reshape(rows, columns), ends_M


def _path(steps_NM: np.ndarray, column: int) -> np.ndarray:
    """The path back from a column of the last row, by the step that leads to each cell."""
    n, m, cells = len(steps_NM) - 1, column, []
    while n >= 0 and m >= 0:
        cells.append((n, m))
        i, j = _STEPS[steps_NM[n, m]]
        n, m = n - i, m - j
    return np.array(cells[::-1], dtype=np.int64)
