"""Single late fusions by numbers that can be worked out."""

from __future__ import annotations

import numpy as np
import pytest

from tests.models.late_fusions.crowds import crowd, softmax
from unifusion import catalog
from unifusion.errors import ConfigError
from unifusion.models.late_fusions._common import fit_temperatures, shares
from unifusion.models.late_fusions.late_fusion import Said


def new(name, **choices):
    kind = catalog.load("late_fusions", name)
    return kind(kind.Config(**choices))


def test_an_average_by_hand():
    said = Said(
        probabilities_NMK=np.array([[[0.8, 0.2], [0.4, 0.6]], [[0.8, 0.2], [np.nan, np.nan]]]),
        affect_NM2=np.array([[[0.5, 0.0], [-0.5, 1.0]], [[0.2, 0.3], [np.nan, np.nan]]]),
    )
    np.testing.assert_allclose(new("averaging").fuse(said), [[0.6, 0.4], [0.8, 0.2]])
    np.testing.assert_allclose(new("averaging").affect(said), [[0.0, 0.5], [0.2, 0.3]])


def test_shares_where_only_models_of_no_weight_are_there():
    there = np.array([[True, True, True], [False, True, True], [False, False, False]])
    np.testing.assert_allclose(shares(np.array([1.0, 0.0, 0.0]), there), [[1, 0, 0], [0, 0.5, 0.5], [0, 0, 0]])


def test_equal_models_get_equal_weights_and_noise_none():
    said, truth, groups = crowd(1, 300, strengths=(2.0, 0.0), heats=(1.0, 4.0))
    twice = Said(probabilities_NMK=said.probabilities_NMK[:, [0, 0, 1]])
    for name in ("weighted", "product_of_experts"):
        first, second, noise = new(name).fit(twice, truth, groups).state()["weights"]
        assert first == pytest.approx(second, abs=1e-4) and noise < 0.02 < first


def test_weights_are_where_a_fine_grid_finds_them():
    said, truth, groups = crowd(2, 150, strengths=(1.5, 1.0), heats=(2.0, 1.0))
    fusion = new("weighted", ridge=0.0).fit(said, truth, groups)

    def lost(weight, power):
        mixed = weight * said.probabilities_NMK[:, 0] + (1 - weight) * said.probabilities_NMK[:, 1]
        told = mixed ** (2**power)
        return -np.log(told[np.arange(150), truth] / told.sum(axis=1)).mean()

    best = min(lost(w, c) for w in np.linspace(0, 1, 41) for c in np.linspace(-2, 3, 51))
    assert lost(fusion.weights_M[0], fusion.power) <= best + 1e-6


@pytest.mark.parametrize("heat", [0.3, 1.0, 2.0])
def test_a_temperature_undoes_a_heat(heat):
    said, truth, _ = crowd(3, 4000, strengths=(2.0,), heats=(1.0,))
    honest = fit_temperatures(said, truth)[0]
    hot = Said(probabilities_NMK=softmax(np.log(said.probabilities_NMK) * heat))
    assert fit_temperatures(hot, truth)[0] == pytest.approx(honest * heat, rel=0.05)


def test_the_surer_model_counts_more_by_either_measure():
    said, truth, groups = crowd(4, 400, strengths=(2.0, 2.0), heats=(1.0, 1.0))
    asked = Said(probabilities_NMK=np.array([[[0.9, 0.025, 0.025, 0.025, 0.025], [0.2] * 5]]))
    for by in ("entropy", "max"):
        weights = new("confidence", by=by).fit(said, truth, groups).weights(asked)
        assert weights[0, 0] > 0.95
    mild = new("confidence", sharpness=0.1).fit(said, truth, groups).weights(Said(probabilities_NMK=said.probabilities_NMK))
    assert np.abs(mild - 0.5).mean() < np.abs(new("confidence").fit(said, truth, groups).weights(said) - 0.5).mean()
    with pytest.raises(ConfigError, match="did you mean 'entropy'"):
        new("confidence", by="entrpy")


def test_a_product_by_hand():
    fusion = new("product_of_experts").restore({"weights": [1.0, 1.0], "log_prior": [0.0, 0.0]})
    said = Said(probabilities_NMK=np.array([[[0.8, 0.2], [0.6, 0.4]], [[0.8, 0.2], [np.nan, np.nan]]]))
    np.testing.assert_allclose(fusion.fuse(said), [[0.48 / 0.56, 0.08 / 0.56], [0.8, 0.2]], atol=2e-3)
    divided = new("product_of_experts").restore({"weights": [1.0, 1.0], "log_prior": list(np.log([0.8, 0.2]))})
    wanted = np.array([0.8 * 0.6 / 0.8, 0.2 * 0.4 / 0.2])
    np.testing.assert_allclose(divided.fuse(said)[0], wanted / wanted.sum(), atol=2e-3)


def test_dividing_by_the_prior_undoes_counting_it_twice():
    """Two experts with the same skewed prior and independent evidence: Bayes' answer divides the prior out once."""
    rng = np.random.default_rng(5)
    prior = np.array([0.9, 0.1])
    truth = (rng.random(4000) < 0.1).astype(np.int64)
    evidence = rng.standard_normal((4000, 2)) + np.where(truth, 0.8, -0.8)[:, None]
    logits = np.stack([-0.8 * evidence, 0.8 * evidence], axis=2) + np.log(prior)
    said, groups = Said(probabilities_NMK=softmax(logits)), np.arange(4000)
    bayes = softmax(logits.sum(axis=1) - np.log(prior))
    fusion = new("product_of_experts", divide_prior=True).fit(said, truth, groups)
    assert np.abs(fusion.fuse(said) - bayes).mean() < 0.01
    np.testing.assert_allclose(fusion.weights_M, 1.0, atol=0.12)
    assert np.abs(new("product_of_experts").fit(said, truth, groups).fuse(said) - bayes).mean() > 0.02


@pytest.mark.parametrize("labels", [2, 4])
def test_stacking_is_scikit_learns_regression(labels):
    from sklearn.linear_model import LogisticRegression

    from unifusion.models.late_fusions.stacking import _columns

    said, truth, groups = crowd(6, 200, labels, strengths=(1.0, 0.5), heats=(1.0, 1.0), missing=0.1)
    some = said.there_NM.any(axis=1)
    fusion = new("stacking", C=0.5).fit(said, truth, groups)
    columns = _columns(said.probabilities_NMK[some], fusion.temperatures_M)
    assert columns.shape[1] == 2 * (labels + 1)
    wanted = LogisticRegression(C=0.5, max_iter=2000, tol=1e-8).fit(columns, truth[some]).predict_proba(columns)
    np.testing.assert_allclose(fusion.fuse(said)[some], wanted, atol=1e-10)


def test_stacking_learns_that_one_model_swaps_two_labels():
    said, truth, groups = crowd(7, 400, strengths=(3.0,), heats=(1.0,))
    swapped = said.probabilities_NMK[:, :, [1, 0, 2, 3, 4]]
    told = new("stacking").fit(Said(probabilities_NMK=swapped), truth, groups).fuse(Said(probabilities_NMK=swapped))
    assert np.mean(told.argmax(axis=1) == truth) > 0.85 > 0.7 > np.mean(swapped[:, 0].argmax(axis=1) == truth)


def test_stacking_gives_nothing_to_a_label_without_examples():
    said, truth, groups = crowd(8, 100)
    fusion = new("stacking").fit(said, truth % 4, groups)
    assert (fusion.fuse(said)[:, 4] == 0).all() and fusion.state()["intercepts"][4] is None


@pytest.mark.parametrize("name", ["attention", "gating"])
def test_nothing_to_learn_leaves_equal_shares(name):
    """Two models of the same kind on a few examples: no share learned from some groups is better for others by much."""
    said, truth, groups = crowd(9, 200, strengths=(0.0, 0.0), heats=(1.0, 1.0))
    weights = new(name).fit(said, truth, groups).weights(said)
    assert np.abs(weights - 0.5).max() < 0.1


def test_gates_see_the_other_models():
    """The third is right where the first two agree, else the first: no answer of its own tells which, so attention fails."""
    rng = np.random.default_rng(10)
    truth, agree = rng.integers(2, size=600), rng.random(600) < 0.5
    answers = np.stack([np.where(agree, 1 - truth, truth), 1 - truth, np.where(agree, truth, 1 - truth)], axis=1)
    logits = np.eye(2)[answers] * 2.0
    said, groups = Said(probabilities_NMK=softmax(logits)), rng.integers(10, size=600)
    told = {name: new(name, steps=600).fit(said, truth, groups).fuse(said) for name in ("gating", "attention")}
    scores = {name: np.mean(rows.argmax(axis=1) == truth) for name, rows in told.items()}
    assert scores["gating"] > 0.95 > scores["attention"] + 0.2, scores
