"""Draws as matrices are those of the slow functions; the paired bootstrap and Holm's adjustment against independent computations."""

import numpy as np
import pytest

from unifusion import catalog
from unifusion.errors import ConfigError
from unifusion.metrics import _resampling
from unifusion.metrics._resampling import group_draws, holm, nested_draws, swap_draws
from unifusion.metrics.accuracy import accuracy
from unifusion.metrics.bootstrap import bootstrap
from unifusion.metrics.macro_recall import macro_recall
from unifusion.metrics.paired_bootstrap import paired_bootstrap
from unifusion.metrics.paired_permutation import paired_permutation

RNG = np.random.default_rng(3)
TRUTH = RNG.choice(list("abc"), 90).tolist()
FIRST = [t if RNG.random() < 0.7 else "a" for t in TRUTH]
SECOND = [t if RNG.random() < 0.5 else "b" for t in TRUTH]
GROUPS = [f"g{i}" for i in RNG.integers(14, size=90)]


def numbers(groups):
    order = {g: i for i, g in enumerate(dict.fromkeys(groups))}
    return np.array([order[g] for g in groups])


@pytest.mark.parametrize("block", [40, 1000, 2_000_000])
def test_group_draws_are_bootstraps(monkeypatch, block):
    monkeypatch.setattr(_resampling, "BLOCK", block)
    right = np.array([a == t for a, t in zip(FIRST, TRUTH, strict=True)], float)
    group_N = numbers(GROUPS)
    weights_RN = np.concatenate(list(group_draws(group_N.max() + 1, 500, 7)))[:, group_N]
    assert weights_RN.shape == (500, 90)
    low, high = np.quantile((weights_RN @ right) / weights_RN.sum(1), [0.025, 0.975])
    wanted = bootstrap(right, GROUPS, resamples=500, seed=7)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize("block", [200, 2_000_000])
def test_nested_draws_take_groups_and_then_their_units(monkeypatch, block):
    monkeypatch.setattr(_resampling, "BLOCK", block)
    group_U = np.array([0, 1, 1, 0, 2, 1, 2])
    sizes = np.bincount(group_U)
    weights_RU = np.concatenate(list(nested_draws(group_U, 4000, 1)))
    by_group_RG = np.stack([weights_RU[:, group_U == g].sum(1) for g in range(3)], 1)
    times_RG = by_group_RG / sizes
    assert (times_RG == times_RG.round()).all() and (times_RG.sum(1) == 3).all()
    assert weights_RU.mean(0) == pytest.approx(np.ones(7), abs=0.08)


def test_nested_draws_give_bootstraps_intervals():
    rng = np.random.default_rng(0)
    group_U = np.arange(60) % 6
    values = rng.normal(size=60) + 0.5 * group_U
    weights_RU = np.concatenate(list(nested_draws(group_U, 4000, 1)))
    low, high = np.quantile((weights_RU @ values) / weights_RU.sum(1), [0.025, 0.975])
    wanted = bootstrap(values, group_U.tolist(), within=True, resamples=4000)
    assert (low, high) == pytest.approx((wanted.low, wanted.high), abs=0.05)


@pytest.mark.parametrize("block", [30, 2_000_000])
def test_swaps_are_the_permutation_tests(monkeypatch, block):
    monkeypatch.setattr(_resampling, "BLOCK", block)
    group_N = numbers(GROUPS)
    gap = np.array([(a == t) - (b == t) for a, b, t in zip(FIRST, SECOND, TRUTH, strict=True)], float)
    by_G = np.bincount(group_N, gap)
    swaps_RG = np.concatenate(list(swap_draws(len(by_G), 400, 5)))
    drawn = (by_G * (1 - 2 * swaps_RG)).sum(1) / 90
    p = (1 + (np.abs(drawn) >= abs(gap.mean()) - 1e-12).sum()) / 401
    assert p == paired_permutation(FIRST, SECOND, TRUTH, accuracy, groups=GROUPS, resamples=400, seed=5).p


def test_the_paired_bootstrap_equals_a_bootstrap_of_differences():
    gap = [float(a == t) - float(b == t) for a, b, t in zip(FIRST, SECOND, TRUTH, strict=True)]
    wanted = bootstrap(gap, GROUPS, resamples=700, seed=2)
    found = paired_bootstrap(FIRST, SECOND, TRUTH, accuracy, groups=GROUPS, resamples=700, seed=2)
    assert (found.difference, found.low, found.high, found.groups) == pytest.approx(
        (wanted.estimate, wanted.low, wanted.high, wanted.groups), abs=1e-12
    )
    assert catalog.load("metrics", "paired_bootstrap") is paired_bootstrap


def test_the_paired_bootstrap_of_equals_and_of_opposites():
    same = paired_bootstrap(FIRST, FIRST, TRUTH, accuracy, resamples=100)
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    worst = paired_bootstrap(TRUTH, [None] * 90, TRUTH, macro_recall, resamples=199)
    assert worst.difference == 1.0 and worst.p == pytest.approx(2 / 200)
    turned = paired_bootstrap(SECOND, FIRST, TRUTH, accuracy, groups=GROUPS, resamples=300)
    straight = paired_bootstrap(FIRST, SECOND, TRUTH, accuracy, groups=GROUPS, resamples=300)
    assert turned.low == pytest.approx(-straight.high) and turned.p == straight.p


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"confidence": 1.0}, {"groups": ["a"]}])
def test_the_paired_bootstrap_refuses_what_does_not_fit(wrong):
    with pytest.raises(ConfigError):
        paired_bootstrap(FIRST, SECOND, TRUTH, accuracy, **wrong)
    with pytest.raises(ConfigError):
        paired_bootstrap([], [], [], accuracy)


def test_holm_as_in_his_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == [] and holm([0.2]) == [0.2]
