"""What every late fusion keeps: sums of 1, absence, order of models, files, seeds, and that it helps where it can."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.models.late_fusions.crowds import crowd, right, specialists
from unifusion import catalog
from unifusion.errors import ConfigError, DatasetError
from unifusion.models.late_fusions._folds import folds_of, out_of_fold, taken
from unifusion.models.late_fusions.late_fusion import Said

NAMES = catalog.names("late_fusions")
FITTED = [n for n in NAMES if catalog.load("late_fusions", n).fitted]
WEIGHING = [n for n in NAMES if n != "stacking"]


def new(name, **choices):
    kind = catalog.load("late_fusions", name)
    return kind(kind.Config(**choices))


@pytest.fixture(scope="module")
def fitted():
    """Every fusion on one crowd with models missing here and there."""
    said, truth, groups = crowd(1, missing=0.2)
    return {name: new(name).fit(said, truth, groups) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("labels", [2, 7])
@pytest.mark.parametrize("models", [1, 4])
def test_answers_sum_to_one_and_nothing_said_is_nothing(name, labels, models):
    said, truth, groups = crowd(2, 120, labels, strengths=(2.0, 1.0, 0.5, 0.0)[:models], heats=(1.0,) * models, missing=0.3)
    said.probabilities_NMK[:2] = said.affect_NM2[:2] = np.nan
    fusion = new(name).fit(said, truth, groups)
    told = fusion.fuse(said)
    silent = ~said.there_NM.any(axis=1)
    assert told.shape == (120, labels) and told.dtype == np.float64
    assert silent[:2].all() and np.isnan(told[silent]).all()
    np.testing.assert_allclose(told[~silent].sum(axis=1), 1, atol=1e-12)
    assert (told[~silent] >= 0).all()
    assert fusion.affect(said).shape == (120, 2) and np.isnan(fusion.affect(said)[:2]).all()


@pytest.mark.parametrize("name", WEIGHING)
def test_weights_are_shares_of_the_models_that_are_there(name, fitted):
    said, _, _ = crowd(3, 80, missing=0.4)
    weights, there = fitted[name].weights(said), said.there_NM
    assert (weights[~there] == 0).all() and (weights >= 0).all()
    np.testing.assert_allclose(weights[there.any(axis=1)].sum(axis=1), 1, atol=1e-12)
    assert (weights[~there.any(axis=1)] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_the_others(name, fitted):
    said, _, _ = crowd(3, 30, missing=0.4)
    whole = fitted[name].fuse(said)
    np.testing.assert_allclose(fitted[name].fuse(taken(said, np.arange(10, 13))), whole[10:13], atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_alone_keeps_its_answers(name, fitted):
    said, _, _ = crowd(4, 200)
    said.probabilities_NMK[:, 1:] = np.nan
    told = fitted[name].fuse(said)
    same = np.mean(told.argmax(axis=1) == said.probabilities_NMK[:, 0].argmax(axis=1))
    assert same == 1.0 if name != "stacking" else same > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_a_single_model_is_left_about_as_it_is(name):
    said, truth, groups = crowd(5, 400, strengths=(2.5,), heats=(1.0,))
    told = new(name).fit(said, truth, groups).fuse(said)
    assert np.mean(told.argmax(axis=1) == said.probabilities_NMK[:, 0].argmax(axis=1)) > 0.93
    assert right(told, truth) > right(said.probabilities_NMK[:, 0], truth) - 0.02


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_models_does_not_matter(name):
    said, truth, groups = crowd(6, 200, strengths=(2.0, 1.0, 0.5), heats=(1.0, 3.0, 1.0), missing=0.2)
    turned = Said(probabilities_NMK=said.probabilities_NMK[:, [2, 0, 1]])
    one, other = new(name).fit(said, truth, groups), new(name).fit(turned, truth, groups)
    np.testing.assert_allclose(one.fuse(said), other.fuse(turned), atol=2e-4, equal_nan=True)
    if name in WEIGHING:
        np.testing.assert_allclose(one.weights(said)[:, [2, 0, 1]], other.weights(turned), atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_keeps_it_and_seeds_decide_it(name, fitted):
    said, truth, groups = crowd(1, missing=0.2)
    kept = json.loads(json.dumps(fitted[name].state(), allow_nan=False))
    back = new(name).restore(kept)
    np.testing.assert_allclose(back.fuse(said), fitted[name].fuse(said), rtol=0, atol=1e-12, equal_nan=True)
    assert back.state() == fitted[name].state()
    np.testing.assert_array_equal(new(name).fit(said, truth, groups).fuse(said), fitted[name].fuse(said))


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("heat", [1.0, 6.0])
def test_noise_beside_a_good_model_costs_little(name, heat):
    make = lambda seed, count: crowd(seed, count, strengths=(2.0, 0.0), heats=(1.0, heat))  # noqa: E731
    said, truth, _ = make(11, 1500)
    told = new(name).fit(*make(10, 400)).fuse(said)
    assert right(told, truth) > right(said.probabilities_NMK[:, 0], truth) - 0.02


@pytest.mark.parametrize("name", NAMES)
def test_models_that_know_different_things_are_better_together(name):
    said, truth, _ = specialists(21, 1500)
    told = new(name).fit(*specialists(20, 400)).fuse(said)
    assert right(told, truth) > max(right(said.probabilities_NMK[:, m], truth) for m in range(2)) + 0.2


@pytest.mark.parametrize("name", NAMES)
def test_models_that_err_independently_are_better_together(name):
    strengths = (2.0, 1.8, 1.6, 1.4, 1.0)
    said, truth, _ = crowd(31, 1500, strengths=strengths, heats=(1.0, 2.0, 3.0, 1.0, 1.0))
    told = new(name).fit(*crowd(30, 400, strengths=strengths, heats=(1.0, 2.0, 3.0, 1.0, 1.0))).fuse(said)
    assert right(told, truth) > 0.93 > max(right(said.probabilities_NMK[:, m], truth) for m in range(5)) + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_a_label_that_a_model_does_not_know_can_still_win(name):
    said, truth, groups = crowd(7, 300, strengths=(3.0, 2.0), heats=(1.0, 1.0))
    said.probabilities_NMK[:, 1, 4] = 0.0
    said.probabilities_NMK[:, 1] /= said.probabilities_NMK[:, 1].sum(axis=1, keepdims=True)
    told = new(name).fit(said, truth, groups).fuse(said)
    assert np.isfinite(told).all()
    assert np.mean(told.argmax(axis=1)[truth == 4] == 4) > 0.5


@pytest.mark.parametrize("name", FITTED)
def test_what_cannot_be_fitted_or_fused_is_told(name, fitted):
    said, truth, groups = crowd(8, 40)
    with pytest.raises(ConfigError, match="not fitted"):
        new(name).fuse(said)
    with pytest.raises(ConfigError, match="answers of 2 models"):
        fitted[name].fuse(Said(probabilities_NMK=said.probabilities_NMK[:, :2]))
    with pytest.raises(DatasetError, match="1 different labels"):
        new(name).fit(said, np.zeros(40, dtype=np.int64), groups)
    with pytest.raises(DatasetError, match="truth of shape"):
        new(name).fit(said, truth[:3], groups)
    with pytest.raises(DatasetError, match="true labels"):
        new(name).fit(said, truth + 3, groups)
    for bad in (-1.0, np.inf):
        wrong = said.probabilities_NMK.copy()
        wrong[0, 0, 0] = bad
        with pytest.raises(DatasetError, match="negative, infinite"):
            new(name).fit(Said(probabilities_NMK=wrong), truth, groups)
    with pytest.raises(DatasetError, match="of shape"):
        new(name).fit(Said(probabilities_NMK=said.probabilities_NMK[:, :, :1]), truth * 0, groups)


@pytest.mark.parametrize("name", NAMES)
def test_one_group_and_few_examples_are_enough(name):
    said, truth, _ = crowd(9, 12, labels=3)
    told = new(name).fit(said, truth, np.array(["only"] * 12)).fuse(said)
    assert np.isfinite(told).all()


def test_folds_keep_groups_whole():
    groups = np.array(list("aabbbccddddde"))
    seen = []
    for fit, ask in folds_of(groups, 3):
        assert not set(groups[fit]) & set(groups[ask])
        seen += list(ask)
    assert sorted(seen) == list(range(13))
    assert len(list(folds_of(np.array(list("aabb")), 5))) == 2
    assert len(list(folds_of(np.array(["a"] * 4), 5))) == 4, "of one group the rows are folded"
    with pytest.raises(DatasetError, match="5 folds of 1 examples"):
        list(folds_of(np.array(["a"]), 5))


@pytest.mark.parametrize("name", ["stacking", "weighted"])
def test_out_of_fold_answers_are_of_fits_without_the_group(name):
    said, truth, groups = crowd(12, 90, groups=5)
    told, felt = out_of_fold(new(name), said, truth, groups, folds=5)
    mine = groups == "s0"
    by_hand = new(name).fit(taken(said, ~mine), truth[~mine], groups[~mine])
    np.testing.assert_array_equal(told[mine], by_hand.fuse(taken(said, mine)))
    np.testing.assert_array_equal(felt[mine], by_hand.affect(taken(said, mine)))


def test_a_fusion_flatters_its_own_examples_and_out_of_fold_does_not():
    """Labels that have nothing to do with what was said: right by chance, whatever the fit believes."""
    said, truth, groups = crowd(13, 120, strengths=(0.0,) * 6, heats=(1.0,) * 6, groups=20)
    fusion = new("stacking", C=10.0).fit(said, truth, groups)
    assert right(fusion.fuse(said), truth) > 0.5
    assert right(out_of_fold(fusion, said, truth, groups)[0], truth) < 0.3
