"""By how much one model, or one input, is better than another on the same rows, with an interval."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.errors import ConfigError
from unifusion.metrics._resampling import group_draws

__all__ = ["paired_bootstrap"]


@dataclass(frozen=True)
class Difference:
    """A difference of two figures on the same rows."""

    difference: float
    """The first one's figure less the second one's."""
    low: float
    high: float
    p: float
    """Two-sided: twice the share of draws in which the sign is the other one, or there is no difference."""
    groups: int
    """Groups that were drawn as wholes; below about 20 an interval says little."""


def paired_bootstrap(
    first: Sequence[Hashable | None],
    second: Sequence[Hashable | None],
    targets: Sequence[Hashable],
    metric: Callable[[Sequence[Any], Sequence[Any]], float],
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Percentile interval of a difference: the same groups are drawn with replacement for both (Efron and Tibshirani 1993, 13 and 15).

    | input | shape | meaning |
    |---|---|---|
    | `first`, `second` | (N,) | two answers to each row; None where nothing could be parsed |
    | `targets` | (N,) | the truth |
    | `metric` | answers, targets -> number | what is compared |
    | `groups` | (N,) | speaker of each row, whose rows are drawn together; default every row its own |

    Raises:
        ConfigError: the lengths differ or are zero, no resamples are wanted, or a confidence outside (0, 1).
    """
    names = list(range(len(targets))) if groups is None else list(groups)
    fits = {len(first), len(second), len(names)} == {len(targets)}
    if not targets or not fits or resamples < 1 or not 0 < confidence < 1:
        found = f"{len(first)} and {len(second)} answers for {len(targets)} targets, {len(names)} groups, {resamples} resamples,"
        raise ConfigError(f"{found} confidence {confidence};", remedy="give as many of each, at least one.")
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    group_N = np.array([number[name] for name in names])
    observed = metric(first, targets) - metric(second, targets)
    draws = []
    for counts_RG in group_draws(len(number), resamples, seed):
        for counts_G in counts_RG:
            rows = np.repeat(np.arange(len(names)), counts_G[group_N].astype(int)).tolist()
            truth = [targets[i] for i in rows]
            draws.append(metric([first[i] for i in rows], truth) - metric([second[i] for i in rows], truth))
    draws_R = np.array(draws)
    low, high = np.quantile(draws_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(observed, float(low), float(high), two_sided(draws_R), len(number))


def two_sided(draws_R: np.ndarray) -> float:
    """Twice the smaller share of draws on either side of no difference, counting the figure itself as one of them; at most 1."""
    below, above = int((draws_R <= 1e-12).sum()), int((draws_R >= -1e-12).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (1 + len(draws_R)))
