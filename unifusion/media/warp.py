"""Dynamic time warping: the cheapest way to walk through two sequences together, each in its own order (Sakoe and Chiba, 1978).

`dtw` takes costs and gives a path; `align_sequences` does so for features with times, whatever they are of: frames against the words said
over them, sound against the sound of the same words. The path is a choice and has no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from unifusion.errors import ConfigError, LimitError

if TYPE_CHECKING:
    from unifusion.batch import Features

__all__ = ["MAX_CELLS", "align_sequences", "cosine_costs", "dtw", "map_times"]

MAX_CELLS = 40_000_000
"""Costs of one alignment, 320 MB: 6,300 tokens against as many, or a minute against a minute at a hundred frames a second."""


def dtw(cost_NM: np.ndarray, *, subsequence: bool = False, band: int | None = None) -> tuple[float, np.ndarray]:
    """Return the least sum of costs over a path from (0, 0) to (N - 1, M - 1) in steps (1, 0), (0, 1), (1, 1), and that path.

    A row at a time: with S the running sum of a row's costs and m what it costs to come from the row before, the row's totals are
    S + running minimum of (m - S), S taken before each cell. 6 ms for 300 x 600 on one core of a busy machine, path included.

    Args:
        cost_NM: any finite numbers.
        subsequence: the path begins and ends at any column (all rows are walked): where in the second sequence does the first lie?
        band: cells farther than this many columns from the straight line between the corners are left out (Sakoe-Chiba).

    Returns:
        The sum, and the path (P, 2) int64 of (row, column), ascending.

    Raises:
        ConfigError: no cells, costs that are no numbers, a band with `subsequence`, or one that no path fits in.
        LimitError: more than `MAX_CELLS` cells.
    """
    cost_NM = np.asarray(cost_NM, np.float64)
    _check(cost_NM, subsequence, band)
    rows, columns = cost_NM.shape
    total_NM = np.full((rows, columns), np.inf)
    for row in range(rows):
        low, high = (0, columns) if band is None else _inside(row, rows, columns, band)
        if row:
            before_M = total_NM[row - 1, low:high].copy()
            first = max(low, 1)
            np.minimum(before_M[first - low :], total_NM[row - 1, first - 1 : high - 1], out=before_M[first - low :])
        else:
            before_M = np.zeros(high) if subsequence else np.concatenate(([0.0], np.full(high - 1, np.inf)))
        costs_M = cost_NM[row, low:high]
        sums_M = np.cumsum(costs_M)
        total_NM[row, low:high] = sums_M + np.minimum.accumulate(before_M - (sums_M - costs_M))
    last = int(total_NM[-1].argmin()) if subsequence else columns - 1
    if not np.isfinite(total_NM[-1, last]):
        raise ConfigError(f"no path through {rows} x {columns} lies within a band of {band};", remedy="give a wider band, or none.")
    return float(total_NM[-1, last]), _walked(total_NM, last, subsequence)


def _check(cost_NM: np.ndarray, subsequence: bool, band: int | None) -> None:
    """Refuse what has no path."""
    if cost_NM.ndim != 2 or not cost_NM.size:
        raise ConfigError(f"costs of shape {cost_NM.shape};", remedy="give a matrix with a row and a column at least.")
    if cost_NM.size > MAX_CELLS:
        found = f"{len(cost_NM)} against {cost_NM.shape[1]} tokens, the limit is {MAX_CELLS} pairs;"
        raise LimitError(found, remedy="align shorter spans.")
    if not np.isfinite(cost_NM).all():
        raise ConfigError("costs with NaN or infinity;", remedy="give finite costs; leave cells out with band.")
    if band is not None and (subsequence or band < 0):
        raise ConfigError(f"band={band} with subsequence={subsequence};", remedy="a band of 0 or more goes with fixed ends.")


def _inside(row: int, rows: int, columns: int, band: int) -> tuple[int, int]:
    """First column and end of a row's part of the band."""
    centre = row * (columns - 1) / max(1, rows - 1) if rows > 1 else (columns - 1) / 2
    reach = band if rows > 1 else columns
    return max(0, int(np.ceil(centre - reach))), min(columns, int(np.floor(centre + reach)) + 1)


def _walked(total_NM: np.ndarray, column: int, subsequence: bool) -> np.ndarray:
    """Walk back from the last row; of equally cheap steps the diagonal is taken."""
    row = len(total_NM) - 1
    path = [(row, column)]
    while row or (column and (not subsequence or total_NM[0, column - 1] < 0)):  # costs below 0 make a longer path cheaper
        if not row:
            column -= 1
        elif not column:
            row -= 1
        else:
            both, up, left = total_NM[row - 1, column - 1], total_NM[row - 1, column], total_NM[row, column - 1]
            if both <= up and both <= left:
                row, column = row - 1, column - 1
            elif up <= left:
                row -= 1
            else:
                column -= 1
        path.append((row, column))
    return np.asarray(path[::-1], np.int64)


def cosine_costs(a_ND: np.ndarray, b_MD: np.ndarray) -> np.ndarray:
    """Return 1 - cosine (N, M), 0 to 2; a row of zeros is at 1 from everything."""
    a_ND, b_MD = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9) for x in (a_ND, b_MD))
    costs: np.ndarray = 1.0 - a_ND @ b_MD.T
    return costs.clip(0.0, 2.0)


def align_sequences(
    features_a: Features, features_b: Features, *, subsequence: bool = False, band: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return how one clip's features lie against another's in one learned space: the path, and the seconds of both along it.

    Args:
        features_a: tokens (1, S, D) with mask and times: of frames, windows, sound, or words.
        features_b: tokens (1, S', D) of the same width.
        subsequence: `features_b` may go on before and after what `features_a` holds.
        band: as of `dtw`.

    Returns:
        path (P, 2): numbers of tokens among those that are real; times (P, 2): their seconds, by which `map_times` takes a time across.

    Raises:
        ConfigError: several clips at once, other widths, no real token, or tokens that are no numbers.
    """
    (a_ND, a_times_N), (b_MD, b_times_M) = (_real(f, name) for f, name in ((features_a, "first"), (features_b, "second")))
    if a_ND.shape[1] != b_MD.shape[1]:
        raise ConfigError(f"features of widths {a_ND.shape[1]} and {b_MD.shape[1]};", remedy="give both from one space.")
    _, path_P2 = dtw(cosine_costs(a_ND, b_MD), subsequence=subsequence, band=band)
    return path_P2, np.stack([a_times_N[path_P2[:, 0]], b_times_M[path_P2[:, 1]]], axis=1)


def _real(features: Features, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (N, D) and times (N,) that are no padding."""
    if len(features.tokens_BSD) != 1 or not bool(features.mask_BS[0].any()):
        found = f"the {name} features hold {len(features.tokens_BSD)} clips, {int(features.mask_BS.sum())} real tokens;"
        raise ConfigError(found, remedy="give those of one clip, with a token at least.")
    mask_S = features.mask_BS[0].cpu()
    tokens_ND = features.tokens_BSD[0].detach().cpu()[mask_S].double().numpy()
    return tokens_ND, features.times_BS[0].cpu()[mask_S].double().numpy()


def map_times(times_s: np.ndarray, path_times_P2: np.ndarray) -> np.ndarray:
    """Take seconds of the first sequence to those of the second; where several tokens lie at one time, to their middle.

    Args:
        times_s: (N,) seconds; those outside the path are taken to its ends.
        path_times_P2: seconds of both along the path, as `align_sequences` gives them.
    """
    at_K, where_P, count_K = np.unique(path_times_P2[:, 0], return_inverse=True, return_counts=True)
    across_K = np.bincount(where_P, weights=path_times_P2[:, 1]) / count_K
    found_N: np.ndarray = np.interp(times_s, at_K, across_K)
    return found_N
