"""Recall at an overlap, Brier score, calibration of every class, accuracy by kind, DCASE's mAP@16."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.metrics.parity import CASES, hold
from unifusion.errors import ConfigError
from unifusion.metrics.accuracy_by_type import accuracy_by_type
from unifusion.metrics.brier import brier
from unifusion.metrics.classwise_ece import classwise_ece
from unifusion.metrics.ece import ece
from unifusion.metrics.map_at_k import map_at_k
from unifusion.metrics.recall_at_iou import recall_at_iou


def test_recall_at_an_overlap_worked_by_hand():
    said = [(0.0, 2.0), [(5.0, 6.0), (1.0, 2.0)], None, []]
    true = [(0.0, 4.0), (1.0, 2.0), (0.0, 1.0), (0.0, 1.0)]
    assert recall_at_iou(said, true) == 0.25, "an IoU of exactly 0.5 counts"
    assert recall_at_iou(said, true, iou=0.7) == 0.0 and recall_at_iou(said, true, n=2) == 0.5
    assert recall_at_iou(said, true, iou=0.7, n=2) == 0.25 and recall_at_iou([[0, 1]], [[0, 1]], iou=1.0) == 1.0


def test_recall_at_an_overlap_refuses_what_is_none():
    for wrong in ({"iou": 0.0}, {"iou": 1.1}, {"n": 0}):
        with pytest.raises(ConfigError, match="recall_at_iou with"):
            recall_at_iou([(0, 1)], [(0, 1)], **wrong)
    with pytest.raises(ConfigError, match="1 predictions for 0"):
        recall_at_iou([(0, 1)], [])
    with pytest.raises(ConfigError, match="ends before"):
        recall_at_iou([(2.0, 1.0)], [(0.0, 1.0)])


@st.composite
def probabilities(draw, most=4):
    """Rows of probabilities with targets."""
    rows, classes = draw(st.integers(1, 25)), draw(st.integers(2, most))
    raw = np.random.default_rng(draw(st.integers(0, 10_000))).dirichlet(np.ones(classes), rows)
    return raw, np.array(draw(st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)))


@CASES
def test_brier_is_sklearns(cases):
    @hold(cases, probabilities())
    def check(case):
        from sklearn.metrics import brier_score_loss

        found, targets = case
        classes = found.shape[1]
        onehot = np.eye(classes)[targets]
        assert brier(found, targets) == pytest.approx(((found - onehot) ** 2).sum(axis=1).mean(), abs=1e-12)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = brier_score_loss(targets, found, labels=list(range(classes)), scale_by_half=False)
            assert brier(found, targets) == pytest.approx(whole, abs=1e-12)
            if classes == 2:
                assert brier(found, targets, halved=True) == pytest.approx(brier_score_loss(targets, found[:, 1], pos_label=1), abs=1e-12)


@CASES
def test_calibration_of_every_class_is_its_definition(cases):
    @hold(cases, probabilities(), st.integers(1, 20))
    def check(case, bins):
        found, targets = case
        total = 0.0
        for v in range(found.shape[1]):
            for b in range(bins):
                inside = (found[:, v] > b / bins) & (found[:, v] <= (b + 1) / bins)
                if inside.any():
                    total += inside.mean() * abs((targets[inside] == v).mean() - found[inside, v].mean())
        assert classwise_ece(found, targets, n_bins=bins) == pytest.approx(total / found.shape[1], abs=1e-9)


def test_what_the_likeliest_class_alone_does_not_show():
    """The likeliest class is told as often as it is right; the two others are swapped."""
    rows = np.tile([0.6, 0.3, 0.1], (10, 1))
    targets = np.array([0] * 6 + [1] * 1 + [2] * 3)
    assert ece(rows, targets) == pytest.approx(0.0) and classwise_ece(rows, targets) == pytest.approx(0.4 / 3)
    assert classwise_ece(np.eye(3), np.arange(3)) == 0.0 and classwise_ece(np.eye(2), np.array([1, 0])) == 1.0


@pytest.mark.parametrize("metric", [brier, classwise_ece, ece])
@pytest.mark.parametrize(
    ("rows", "targets", "words"),
    [([[0.5, 0.6]], [0], "sum to 1"), ([[0.5, 0.5]], [2], "from 2 to 2"), ([[0.5, 0.5]], [0.0], "type float"), ([], [], "shapes"),
     ([[0.5, 0.5]], [-1], "from -1"), ([[1.5, -0.5]], [0], "sum to 1"), ([[np.nan, 1.0]], [0], "sum to 1")],
)  # fmt: skip
def test_what_is_no_probability_is_refused(metric, rows, targets, words):
    with pytest.raises(ConfigError, match=words):
        metric(np.array(rows), np.array(targets))


@pytest.mark.parametrize("metric", [classwise_ece, ece])
def test_bins_are_counted_from_one(metric):
    with pytest.raises(ConfigError, match="0 bins"):
        metric(np.eye(2), np.arange(2), n_bins=0)


def test_accuracy_by_kind():
    found = accuracy_by_type(["a", None, "b", "b"], ["a", "a", "b", "b"], ["where", "where", "when", "when"])
    assert found.types == {"where": 0.5, "when": 1.0} and found.counts == {"where": 2, "when": 2}
    assert found.value == 0.75 and found.overall == 0.75
    lopsided = accuracy_by_type([0, 0, 0, 1], [0, 0, 0, 0], ["x", "x", "x", "y"])
    assert lopsided.value == 0.5 and lopsided.overall == 0.75
    with pytest.raises(ConfigError, match="1 types for 2"):
        accuracy_by_type([0, 0], [0, 0], ["x"])
    with pytest.raises(ConfigError, match="0 predictions"):
        accuracy_by_type([], [], [])


def test_dcases_map_at_16_with_several_relevant_clips():
    """Ranks 1, 3 and 20 of three: (1/1 + 2/3) / 3, since the third is beyond 16 and still divides; then a query of one at rank 16."""
    scores = np.tile(np.arange(40, 0, -1.0), (2, 1))
    relevance = np.zeros((2, 40), bool)
    relevance[0, [0, 2, 19]] = relevance[1, 15] = True
    assert map_at_k(scores, relevance, k=16) == pytest.approx(((1 + 2 / 3) / 3 + 1 / 16) / 2)
    relevance[1], relevance[1, :20] = False, True
    # 20 relevant ones in the first 20 places: 16 / 20, not 1.
    assert map_at_k(scores[1:], relevance[1:], k=16) == pytest.approx(16 / 20)
