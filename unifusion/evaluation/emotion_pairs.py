"""Two systems, or two conditions of one, on the same examples: the difference of every figure with an interval and a test.

With several seeds the rows of all seeds are taken together, so that an example counts by the mean over the seeds of what was right. For
accuracy and UAR the difference is that of the means over seeds; for the other figures it is that of the pooled rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from unifusion.errors import DatasetError
from unifusion.evaluation.emotion_sums import METRICS, Columns, figures_of, select, sums_of
from unifusion.evaluation.emotion_units import TAILS, Draws, units_of
from unifusion.metrics.paired_bootstrap import two_sided

__all__ = ["Pair", "Tested", "common_ids", "compare_pair"]


@dataclass(frozen=True, kw_only=True)
class Tested:
    """One figure of two systems.

    Attributes:
        difference: the first one's less the second one's.
        low, high: by a paired bootstrap.
        p: two-sided, by a permutation test in which units are swapped.
        p_bootstrap: two-sided, by the bootstrap's draws.
    """

    difference: float
    low: float
    high: float
    p: float
    p_bootstrap: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two systems on the examples of both.

    Attributes:
        examples, groups: that both have, in every seed.
        swapped: what the test swaps: groups or examples.
        tested: figure -> difference; those that both have.
    """

    examples: int
    groups: int
    swapped: str
    tested: Mapping[str, Tested]


def common_ids(*systems: Columns) -> list[str]:
    """The examples that every system has in every seed, in the first one's order."""
    whole = [{c.ids[i] for i in np.flatnonzero(np.all(c.answer_SN >= 0, axis=0))} for c in systems]
    return [i for i in systems[0].ids if all(i in ids for ids in whole)]


def compare_pair(first: Columns, second: Columns, draws: Draws) -> Pair:
    """Test all figures of two systems on their common examples.

    Raises:
        DatasetError: an example has another truth or group in the other system.
    """
    ids = common_ids(first, second)
    if not ids:
        return Pair(examples=0, groups=0, swapped="examples", tested={})
    first, second = _same_affect(select(first, ids), select(second, ids))
    same_labels = first.labels == second.labels and np.array_equal(first.truth_N, second.truth_N)
    if not same_labels or first.groups != second.groups or not np.allclose(first.true_N2, second.true_N2, equal_nan=True):
        name = next((i for i, a, b in zip(ids, _truths(first), _truths(second), strict=True) if a != b), ids[0])
        raise DatasetError(f"{name!r} has another truth or group in one of two files;", remedy="compare systems on the same data.")
    units, k = units_of(first.groups), len(first.labels)
    one_UP, other_UP = (sums_of(c, units.unit_N, len(units)).mean(0) for c in (first, second))
    observed = _difference(one_UP.sum(0), other_UP.sum(0), k)
    drawn = _stacked(_difference(w_RU @ one_UP, w_RU @ other_UP, k) for w_RU in units.weights(draws))
    gap_UP, total_P = other_UP - one_UP, one_UP.sum(0) + other_UP.sum(0)
    swapped = (one_UP.sum(0) + s_RU @ gap_UP for s_RU in units.swaps(draws))
    chance = _stacked(_difference(sums_RP, total_P - sums_RP, k) for sums_RP in swapped)
    tested = {}
    for name, value in observed.items():
        if not np.isnan(value):
            draws_R = drawn[name][~np.isnan(drawn[name])]
            low, high = np.quantile(draws_R, TAILS)
            reached = int((np.abs(chance[name]) >= abs(value) - 1e-12).sum())
            p = (1 + reached) / (1 + draws.resamples)
            tested[name] = Tested(difference=float(value), low=float(low), high=float(high), p=p, p_bootstrap=two_sided(draws_R))
    return Pair(examples=len(ids), groups=units.groups, swapped=units.swapped, tested=tested)


def _same_affect(first: Columns, second: Columns) -> tuple[Columns, Columns]:
    """Keep valence and arousal where both told them in every seed."""
    lacking_N2 = np.isnan(first.told_SN2).any(0) | np.isnan(second.told_SN2).any(0)
    one, other = (replace(c, told_SN2=np.where(lacking_N2, np.nan, c.told_SN2)) for c in (first, second))
    return one, other


def _truths(told: Columns) -> list[tuple[object, ...]]:
    """What is known of each example, to find where two files differ."""
    labels = [told.labels[t] if t >= 0 else "" for t in told.truth_N]
    return [(a, g, *(None if np.isnan(v) else round(float(v), 6) for v in row))
            for a, g, row in zip(labels, told.groups, told.true_N2, strict=True)]  # fmt: skip


def _difference(one: np.ndarray, other: np.ndarray, k: int) -> dict[str, np.ndarray]:
    """Differences of the figures of sums (.., P)."""
    a, b = figures_of(one, k), figures_of(other, k)
    return {name: a[name] - b[name] for name in METRICS}


def _stacked(blocks: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Blocks of resamples one behind the other."""
    found = list(blocks)
    return {name: np.concatenate([b[name] for b in found]) for name in found[0]}
