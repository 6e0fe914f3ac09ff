"""The fast tests of two systems are the slow ones; several seeds count by their mean."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.told import told
from unifusion.errors import DatasetError
from unifusion.evaluation.emotion_pairs import common_ids, compare_pair
from unifusion.evaluation.emotion_sums import columns, labels_of
from unifusion.evaluation.emotion_units import Draws
from unifusion.metrics.accuracy import accuracy
from unifusion.metrics.macro_recall import macro_recall
from unifusion.metrics.paired_bootstrap import paired_bootstrap
from unifusion.metrics.paired_permutation import paired_permutation
from unifusion.metrics.weighted_f1 import weighted_f1

DRAWS = Draws(resamples=300, seed=6)


def laid(rows):
    return columns(rows, labels_of(rows))


@pytest.mark.parametrize("groups", [12, 0])
@pytest.mark.parametrize(("name", "metric"), [("accuracy", accuracy), ("uar", macro_recall), ("weighted_f1", weighted_f1)])
def test_one_seed_is_the_slow_test(groups, name, metric):
    first, second = told(45, skill=1.5, groups=groups, draw=1), told(45, skill=0.8, groups=groups, draw=2)
    found = compare_pair(laid(first), laid(second), DRAWS)
    said, other, true = ([r.answer for r in first], [r.answer for r in second], [r.truth for r in first])
    names = [r.group or r.id for r in first]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = paired_permutation(said, other, true, metric, groups=names, resamples=300, seed=6)
        drawn = paired_bootstrap(said, other, true, metric, groups=names, resamples=300, seed=6)
    tested = found.tested[name]
    assert tested.difference == pytest.approx(test.difference) and tested.p == pytest.approx(test.p)
    assert (tested.low, tested.high, tested.p_bootstrap) == pytest.approx((drawn.low, drawn.high, drawn.p))
    assert (found.examples, found.groups, found.swapped) == (45, groups or 45, "groups")


def test_seeds_count_by_their_mean():
    first, second = told(45, seeds=(0, 1, 2), draw=1), told(45, seeds=(5,), skill=1.0, draw=2)
    right = np.array([float(r.answer == r.truth) for r in first]).reshape(3, 45).mean(0)
    other = np.array([float(r.answer == r.truth) for r in second])
    group_N = np.arange(45) % 12
    gap_G = np.bincount(group_N, right - other)
    swaps = np.random.default_rng(6).integers(2, size=(300, 12))
    drawn = (gap_G * (1 - 2 * swaps)).sum(1) / 45
    p = (1 + (np.abs(drawn) >= abs(gap_G.sum() / 45) - 1e-12).sum()) / 301
    tested = compare_pair(laid(first), laid(second), DRAWS).tested["accuracy"]
    assert tested.difference == pytest.approx(gap_G.sum() / 45) and tested.p == pytest.approx(p)


def test_few_groups_are_not_swapped_as_wholes():
    first, second = told(80, groups=2, skill=4, draw=1), told(80, groups=2, skill=0, draw=2)
    found = compare_pair(laid(first), laid(second), DRAWS)
    assert found.swapped == "examples" and found.groups == 2 and found.tested["uar"].p < 0.01


def test_a_system_equals_itself():
    one = laid(told(30))
    found = compare_pair(one, one, DRAWS)
    assert all((t.difference, t.low, t.high, t.p, t.p_bootstrap) == (0, 0, 0, 1, 1) for t in found.tested.values())
    assert {"uar", "ece", "ccc_valence", "mse_arousal"} <= set(found.tested)


def test_only_what_both_have_in_every_seed():
    first = [r for r in told(30, seeds=(0, 1)) if not (r.id == "e3" and r.seed == 1)]
    second = [r for r in told(30, draw=4) if r.id != "e7"]
    ids = common_ids(laid(first), laid(second))
    assert set(ids) == {f"e{i}" for i in range(30)} - {"e3", "e7"}
    assert compare_pair(laid(first), laid(second), DRAWS).examples == 28
    nothing = compare_pair(laid(first), laid([replace(r, id=f"x{r.id}") for r in second]), DRAWS)
    assert nothing.examples == 0 and nothing.tested == {}


def test_what_only_one_tells_is_not_tested():
    mute = [replace(r, valence=None) for r in told(30)]
    found = compare_pair(laid(told(30)), laid(mute), DRAWS).tested
    assert "ccc_valence" not in found and "ccc_arousal" in found
    some = [replace(r, valence=None) if i % 2 else r for i, r in enumerate(told(30, draw=3))]
    both = compare_pair(laid(told(30)), laid(some), DRAWS).tested["mae_valence"]
    gaps = [abs(a.valence - a.true_valence) - abs(b.valence - b.true_valence) for a, b in zip(told(30), some, strict=True) if b.valence]
    assert both.difference == pytest.approx(np.mean(gaps))


@pytest.mark.parametrize("change", [{"truth": "angry"}, {"group": "elsewhere"}, {"true_valence": 0.0}])
def test_other_truths_are_refused(change):
    rows = told(30)
    at = next(i for i, r in enumerate(rows) if r.truth != "angry")
    others = [replace(r, **change) if i == at else r for i, r in enumerate(rows)]
    with pytest.raises(DatasetError, match=f"'e{at}' has another truth or group"):
        compare_pair(laid(rows), laid(others), DRAWS)
