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
    within: bool = False,
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
    | `within` | | of each drawn group, draw its rows with replacement too (Davison and Hinkley 1997, 3.8) |

    With few groups whole ones alone say too little (of one group, nothing at all); rows drawn `within` them then at least tell how much
    the figure depends on the rows.

    Raises:
        ConfigError: no rows, lengths that differ, or a confidence outside (0, 1).
    """
    rows = np.asarray(values)
    names = list(range(len(rows))) if groups is None else list(groups)
    fits = rows.size > 0 and len(names) == len(rows) and (statistic is not None or rows.ndim == 1)
    if not fits or not 0 < confidence < 1 or resamples < 1:
        found = f"bootstrap of shape {rows.shape}, {len(names)} groups, {resamples} resamples, confidence {confidence};"
        raise ConfigError(found, remedy="give one number and one group per row; a statistic for rows that are not numbers.")
    index: dict[Hashable, list[int]] = {}
    for i, name in enumerate(names):
        index.setdefault(name, []).append(i)
    members = [np.asarray(m) for m in index.values()]
    rng = np.random.default_rng(seed)
    picks_RG = rng.integers(len(members), size=(resamples, len(members)))
    estimate = float(rows.mean()) if statistic is None else float(statistic(rows))
    if statistic is None and not within:
        sums, sizes = np.array([rows[m].sum() for m in members]), np.array([len(m) for m in members])
        draws = sums[picks_RG].sum(axis=1) / sizes[picks_RG].sum(axis=1)
    else:
        measure = statistic or np.mean
        drawn = ([rng.choice(members[g], len(members[g])) if within else members[g] for g in picks] for picks in picks_RG)
        draws = np.array([measure(rows[np.concatenate(d)]) for d in drawn])
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high), len(members))
