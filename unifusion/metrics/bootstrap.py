"""A confidence interval that does not cut through a group."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["bootstrap"]


@dataclass(frozen=True)
class Interval:
    """An estimate with the borders of its confidence interval."""

    estimate: float
    low: float
    high: float
    groups: int
    """Groups that were drawn from; below about 20 an interval says little."""


def bootstrap(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[Hashable] | None = None,
    *,
    statistic: Callable[[np.ndarray], float] | None = None,
    within: bool | Sequence[Hashable] = False,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval from drawing whole groups with replacement (cluster bootstrap; Field and Welsh 2007).

    | input | shape | meaning |
    |---|---|---|
    | `values` | (N,) or (N, ..) | one row per answer |
    | `groups` | (N,) | speaker, conversation or source video of each row; default every row its own |
    | `statistic` | rows (K, ..) -> number | default the mean |
    | `within` | bool or (N,) | draw inside a drawn group too: its rows, or all rows of a name together (Davison and Hinkley 1997, 3.8) |

    With few groups whole ones alone say too little (of one group, nothing at all); rows drawn `within` them then at least tell how much
    the figure depends on the rows.

    Raises:
        ConfigError: no rows, lengths that differ, or a confidence outside (0, 1).
    """
    rows = np.asarray(values)
    names = list(range(len(rows))) if groups is None else list(groups)
    if not isinstance(within, bool) and len(within) != len(rows):
        raise ConfigError(f"bootstrap of {len(rows)} rows within {len(within)} names;", remedy="give one name per row.")
    fits = rows.size > 0 and len(names) == len(rows) and (statistic is not None or rows.ndim == 1)
    if not fits or not 0 < confidence < 1 or resamples < 1:
        found = f"bootstrap of shape {rows.shape}, {len(names)} groups, {resamples} resamples, confidence {confidence};"
        raise ConfigError(found, remedy="give one number and one group per row; a statistic for rows that are not numbers.")
    index: dict[Hashable, list[int]] = {}
    for i, name in enumerate(names):
        index.setdefault(name, []).append(i)
    members = [np.asarray(m) for m in index.values()]
    units = [_units(m, within) for m in members] if not isinstance(within, bool) else []
    rng = np.random.default_rng(seed)
    picks_RG = rng.integers(len(members), size=(resamples, len(members)))
    estimate = float(rows.mean()) if statistic is None else float(statistic(rows))
    if statistic is None and not within:
        sums, sizes = np.array([rows[m].sum() for m in members]), np.array([len(m) for m in members])
        draws = sums[picks_RG].sum(axis=1) / sizes[picks_RG].sum(axis=1)
    else:
        measure = statistic or np.mean

        def again(g: int) -> np.ndarray:
            """Rows of one drawn group."""
            if units:
                return np.concatenate([units[g][k] for k in rng.integers(len(units[g]), size=len(units[g]))])
            return np.asarray(rng.choice(members[g], len(members[g]))) if within else members[g]

        draws = np.array([measure(rows[np.concatenate([again(g) for g in picks])]) for picks in picks_RG])
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high), len(members))


def _units(members: np.ndarray, names: Sequence[Hashable]) -> list[np.ndarray]:
    """Rows of a group by their name."""
    found: dict[Hashable, list[int]] = {}
    for row in members:
        found.setdefault(names[row], []).append(row)
    return [np.asarray(rows) for rows in found.values()]
