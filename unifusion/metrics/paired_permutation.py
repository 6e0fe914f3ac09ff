"""Whether one model, or one input, is better than another on the same rows by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["paired_permutation"]


@dataclass(frozen=True)
class Paired:
    """A difference of two figures on the same rows."""

    difference: float
    """The first one's figure less the second one's."""
    p: float
    """How often a difference at least as large comes about by chance."""
    groups: int
    """Groups that were swapped as wholes; with n of them p is at least about 2 ** (1 - n)."""


def paired_permutation(
    first: Sequence[Hashable | None],
    second: Sequence[Hashable | None],
    targets: Sequence[Hashable],
    metric: Callable[[Sequence[Any], Sequence[Any]], float],
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 5000,
    seed: int = 0,
) -> Paired:
    """Two-sided approximate randomisation test (Noreen 1989): the two answers to a row are swapped or not, by the toss of a coin.

    | input | shape | meaning |
    |---|---|---|
    | `first`, `second` | (N,) | two answers to each row; None where nothing could be parsed |
    | `targets` | (N,) | the truth |
    | `metric` | answers, targets -> number | what is compared |
    | `groups` | (N,) | speaker of each row, whose rows are swapped together; default every row its own |

    Raises:
        ConfigError: the lengths differ or are zero, or no resamples are wanted.
    """
    names = list(range(len(targets))) if groups is None else list(groups)
    if not targets or {len(first), len(second), len(names)} != {len(targets)} or resamples < 1:
        found = f"{len(first)} and {len(second)} answers for {len(targets)} targets, {len(names)} groups, {resamples} resamples;"
        raise ConfigError(found, remedy="give as many of each, at least one.")
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    group_N = np.array([number[name] for name in names])
    observed = metric(first, targets) - metric(second, targets)
    rng, reached = np.random.default_rng(seed), 0
    for _ in range(resamples):
        swap_N = rng.integers(2, size=len(number))[group_N]
        one = [b if s else a for a, b, s in zip(first, second, swap_N, strict=True)]
        other = [a if s else b for a, b, s in zip(first, second, swap_N, strict=True)]
        reached += abs(metric(one, targets) - metric(other, targets)) >= abs(observed) - 1e-12
    return Paired(observed, (1 + reached) / (1 + resamples), len(number))
