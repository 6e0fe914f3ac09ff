"""Every metric against a trusted implementation, and at its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion import catalog
from unifusion.errors import ConfigError
from unifusion.metrics.accuracy import accuracy
from unifusion.metrics.bootstrap import bootstrap
from unifusion.metrics.ccc import ccc
from unifusion.metrics.confusion_matrix import confusion_matrix
from unifusion.metrics.ece import ece
from unifusion.metrics.exact_match import exact_match, normalise
from unifusion.metrics.macro_f1 import macro_f1
from unifusion.metrics.macro_recall import macro_recall
from unifusion.metrics.mse import mse
from unifusion.metrics.paired_permutation import paired_permutation
from unifusion.metrics.per_class import per_class
from unifusion.metrics.rouge_l import rouge_l
from unifusion.metrics.temporal_iou import temporal_iou
from unifusion.metrics.time_error import time_error
from unifusion.metrics.token_f1 import token_f1
from unifusion.metrics.weighted_f1 import weighted_f1

PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abc")), min_size=1, max_size=40)
TEXT = st.lists(st.sampled_from("a the cat dog sat on mat 2 two".split()), max_size=8).map(" ".join)


@pytest.mark.parametrize(
    "name",
    [
        "accuracy", "bootstrap", "ccc", "confusion_matrix", "ece", "exact_match", "macro_f1", "macro_recall", "mse", "per_class", "rouge_l",
        "temporal_iou", "token_f1",
    ],
)  # fmt: skip
def test_the_catalog_finds_it_by_its_stem(name):
    assert catalog.load("metrics", name).__name__ == name


@settings(deadline=None)
@given(PAIRS)
def test_class_metrics_equal_sklearns(pairs):
    import warnings

    from sklearn.metrics import accuracy_score, f1_score, recall_score

    said, true = [p for p, _ in pairs], [t for _, t in pairs]
    assert accuracy(said, true) == pytest.approx(accuracy_score(true, said))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        present = sorted(set(true))
        assert macro_recall(said, true) == pytest.approx(recall_score(true, said, average="macro", labels=present))
        assert macro_recall(said, true, labels="abc") == pytest.approx(
            recall_score(true, said, average="macro", labels=list("abc"), zero_division=0)
        )
    assert weighted_f1(said, true) == pytest.approx(f1_score(true, said, average="weighted", zero_division=0))


@settings(deadline=None)
@given(PAIRS, st.booleans())
def test_figures_of_classes_equal_sklearns(pairs, pinned):
    import warnings

    from sklearn import metrics

    said, true = [p for p, _ in pairs], [t for _, t in pairs]
    labels = list("abcd") if pinned else list(dict.fromkeys(true))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = metrics.precision_recall_fscore_support(true, said, labels=labels, zero_division=0)
        assert macro_f1(said, true, labels=labels) == pytest.approx(float(np.mean(wanted[2])))
        counts = metrics.confusion_matrix(true, said, labels=labels)
    found = per_class(said, true, labels=labels if pinned else None)
    assert list(found) == labels
    for row, key in zip(wanted, ("precision", "recall", "f1", "support"), strict=True):
        assert [found[name][key] for name in labels] == pytest.approx(row.tolist())
    got = confusion_matrix(said, true, labels=labels)
    np.testing.assert_array_equal(got[:, :-1], counts)
    assert got.sum(axis=1).tolist() == [true.count(name) for name in labels]


def test_a_confusion_matrix_keeps_what_is_no_label():
    assert confusion_matrix([None, "x", "a", "b"], ["a", "a", "b", "b"], labels=["a", "b"]).tolist() == [[0, 0, 2], [1, 1, 0]]
    with pytest.raises(ConfigError, match="'c' is not among labels"):
        confusion_matrix(["a"], ["c"], labels=["a", "b"])
    with pytest.raises(ConfigError, match="over labels"):
        confusion_matrix(["a"], ["a"], labels=["a", "a"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=20))
def test_squared_error_equals_sklearns(pairs):
    from sklearn.metrics import mean_squared_error

    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    assert mse(x, y) == pytest.approx(mean_squared_error(y, x))
    with pytest.raises(ConfigError, match="mse of shapes"):
        mse([*x, 0.0], y)


def test_an_unparsed_answer_is_wrong_and_no_class():
    assert macro_f1([None, "b"], ["a", "b"]) == 0.5
    assert per_class([None, "b"], ["a", "b"])["a"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert accuracy([None, "a"], ["a", "a"]) == 0.5
    assert macro_recall([None, "b"], ["a", "b"]) == 0.5
    assert weighted_f1([None, "b"], ["a", "b"]) == 0.5


def test_a_pinned_class_without_targets_is_told():
    with pytest.warns(RuntimeWarning, match="no target is 'b'"):
        assert macro_recall(["a"], ["a"], labels=["a", "b"]) == 0.5
    with pytest.raises(ConfigError, match="'c' is not among labels"):
        macro_recall(["a"], ["c"], labels=["a"])
    with pytest.warns(RuntimeWarning, match="no target is 'b'"):
        assert macro_f1(["a"], ["a"], labels=["a", "b"]) == 0.5
    for metric in (macro_f1, per_class):
        with pytest.raises(ConfigError, match="'c' is not among labels"):
            metric(["a"], ["c"], labels=["a"])


@pytest.mark.parametrize("metric", [accuracy, macro_f1, macro_recall, per_class, weighted_f1])
def test_lengths_must_fit(metric):
    with pytest.raises(ConfigError, match="1 predictions for 2 targets"):
        metric(["a"], ["a", "b"])
    with pytest.raises(ConfigError):
        metric([], [])


def test_ccc_is_the_population_form():
    x, y = [1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 2.5, 4.5]
    a, b = np.array(x), np.array(y)
    wanted = 2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)
    assert ccc(x, y) == pytest.approx(wanted) and ccc(x, x) == pytest.approx(1.0)
    assert ccc(x, [-v for v in x]) < 0
    r = np.corrcoef(a, b)[0, 1]
    assert ccc(x, y) < r and ccc(a, a + 1) < 1


def test_ccc_of_a_constant_is_zero_and_told():
    with pytest.warns(RuntimeWarning, match="constant"):
        assert ccc([0.1] * 3, [0.1, 0.2, 0.3]) == 0.0
    with pytest.raises(ConfigError):
        ccc([1.0], [1.0, 2.0])
    with pytest.raises(ConfigError):
        ccc([math.nan, 1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Red, circle!", "red circle"),
        ("two", "2"),
        ("none", "0"),
        ("dont", "don't"),
        ("It\u2019s 1,250.5 s.", "it's 1250.5 s"),
        ("-0.5", "-0.5"),
        ("well-known", "well known"),
        ("A", "a"),
        ("snake_case", "snake case"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_normalise(text, wanted):
    assert normalise(text) == wanted


@settings(deadline=None)
@given(st.text())
def test_normalise_settles(text):
    assert normalise(normalise(text)) == normalise(text)


def test_exact_match():
    assert exact_match("The dog.", "dog") == 1 and exact_match("dog", ["cat", "a dog"]) == 1
    assert exact_match("dogs", "dog") == 0 and exact_match("", "") == 0 and exact_match("the", "a") == 0


@settings(deadline=None)
@given(TEXT, TEXT)
def test_text_metrics_equal_the_known_ones(said, reference):
    from rouge_score.rouge_scorer import RougeScorer

    assert rouge_l(said, reference) == pytest.approx(RougeScorer(["rougeL"]).score(reference, said)["rougeL"].fmeasure)
    a, b = ([w for w in t.split() if w not in ("a", "the")] for t in (said, reference))
    shared = sum(min(a.count(w), b.count(w)) for w in set(a))
    wanted = float(a == b) if not a or not b else 2 * shared / (len(a) + len(b))
    assert token_f1(said, reference) == pytest.approx(wanted)


def test_the_best_reference_counts():
    assert rouge_l("a dog", ["a cat", "a dog"]) == token_f1("a dog", ["a cat", "a dog"]) == 1.0


def test_spans_and_times():
    assert temporal_iou((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert temporal_iou((0, 1), (2, 3)) == temporal_iou(None, (2, 3)) == temporal_iou((1, 1), (0, 2)) == 0
    assert temporal_iou((1, 1), (1, 1)) == 1
    assert time_error((1.0, 3.0), (1.5, 2.0)) == 1.0 and time_error(None, (0, 1)) == math.inf
    with pytest.raises(ConfigError, match="ends before"):
        temporal_iou((2, 1), (0, 1))


def test_ece_against_its_definition_and_sklearns_curve():
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1.0, 400)
    right = rng.random(400) < confidence**2
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    share_right, mean_confidence = calibration_curve(right, confidence, n_bins=10)
    counts = np.histogram(confidence, bins=np.linspace(0, 1, 11))[0]
    wanted = (np.abs(share_right - mean_confidence) * counts[counts > 0]).sum() / 400
    assert ece(probabilities, np.where(right, 0, 1), n_bins=10) == pytest.approx(wanted)
    assert ece(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 1])) == 0.0
    assert ece(np.array([[1.0, 0.0]]), np.array([1])) == 1.0
    with pytest.raises(ConfigError, match="sum to 1"):
        ece(np.array([[1.0, 1.0]]), np.array([0]))
    with pytest.raises(ConfigError, match="shapes"):
        ece(np.zeros((0, 2)), np.zeros(0))


def test_bootstrap_equals_scipys_percentiles():
    from scipy.stats import bootstrap as oracle

    values = np.random.default_rng(1).random(80)
    ours = bootstrap(values, resamples=4000)
    theirs = oracle((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.01) and ours.high == pytest.approx(theirs.high, abs=0.01)
    assert ours.estimate == pytest.approx(values.mean()) and ours.groups == 80
    assert bootstrap(values, resamples=50) == bootstrap(values, resamples=50) != bootstrap(values, resamples=50, seed=1)


def test_bootstrap_draws_whole_groups():
    values = np.repeat(np.random.default_rng(2).integers(0, 2, 20), 30).astype(float)
    groups = np.repeat(np.arange(20), 30)
    clustered, naive = bootstrap(values, groups), bootstrap(values)
    assert clustered.groups == 20 and clustered.high - clustered.low > 3 * (naive.high - naive.low)
    as_statistic = bootstrap(values, groups, statistic=lambda rows: float(rows.mean()))
    assert (as_statistic.low, as_statistic.high) == pytest.approx((clustered.low, clustered.high))


def test_bootstrap_refuses_what_does_not_fit():
    for wrong in ({"values": []}, {"values": [1.0], "groups": ["a", "b"]}, {"values": [1.0], "confidence": 1.0}, {"values": [[1.0, 2.0]]}):
        with pytest.raises(ConfigError, match="bootstrap of shape"):
            bootstrap(**wrong)


@pytest.mark.parametrize(("better", "worse"), [(9, 1), (6, 5), (14, 3), (5, 5)])
def test_paired_permutation_of_accuracy_is_the_sign_test_of_the_rows_that_differ(better, worse):
    from scipy.stats import binomtest

    n = 40
    first = ["x"] * better + ["y"] * worse + ["x"] * (n - better - worse)
    second = ["y"] * better + ["x"] * worse + ["x"] * (n - better - worse)
    told = paired_permutation(first, second, ["x"] * n, accuracy)
    assert told.difference == pytest.approx((better - worse) / n) and told.groups == n
    assert told.p == pytest.approx(binomtest(better, better + worse).pvalue, abs=0.02)


def test_paired_permutation_swaps_speakers_as_wholes():
    right, wrong, groups = ["x"] * 30, ["y"] * 30, [f"speaker {i // 10}" for i in range(30)]
    told = paired_permutation(right, wrong, right, accuracy, groups=groups)
    assert told.groups == 3 and told.p == pytest.approx(2 * 0.5**3, abs=0.03)
    assert paired_permutation(right, wrong, right, accuracy).p < 0.001
    assert paired_permutation(right, right, right, macro_recall).p == 1.0


@pytest.mark.parametrize("call", [([], [], []), (["x"], ["x", "y"], ["x"])])
def test_paired_permutation_refuses_rows_that_do_not_pair(call):
    with pytest.raises(ConfigError, match="as many of each"):
        paired_permutation(*call, accuracy)


def test_bootstrap_within_groups_covers_what_whole_groups_cannot():
    rng = np.random.default_rng(0)
    rows = (rng.random(200) < 0.7).astype(float)
    one = ["a"] * 200
    assert bootstrap(rows, one).low == bootstrap(rows, one).high == rows.mean()
    inner = bootstrap(rows, one, within=True, resamples=4000)
    wanted = 1.96 * np.sqrt(rows.mean() * (1 - rows.mean()) / 200)
    assert inner.high - inner.estimate == pytest.approx(wanted, rel=0.15) and inner.estimate - inner.low == pytest.approx(wanted, rel=0.15)
    groups = [f"g{i // 20}" for i in range(200)]
    spread = rows * 0.1 + np.repeat(rng.random(10), 20)
    outer, both = bootstrap(spread, groups), bootstrap(spread, groups, within=True)
    assert both.high - both.low >= 0.95 * (outer.high - outer.low) and both.estimate == outer.estimate == spread.mean()
    other = bootstrap(spread, groups, within=True, statistic=lambda r: float(r.mean()))
    assert (other.low, other.high) == (both.low, both.high)


def test_bootstrap_draws_what_is_asked_several_times_as_one():
    rng = np.random.default_rng(0)
    once = rng.integers(0, 2, 60).astype(float)
    asked, recordings, speakers = np.repeat(once, 5), np.repeat(np.arange(60), 5), np.repeat([0, 1], 150)
    whole = bootstrap(asked, speakers, within=list(recordings), resamples=2000)
    alone = bootstrap(once, speakers[::5], within=True, resamples=2000)
    rows = bootstrap(asked, speakers, within=True, resamples=2000)
    assert whole.low == pytest.approx(alone.low, abs=0.03) and whole.high == pytest.approx(alone.high, abs=0.03)
    assert whole.high - whole.low > 1.2 * (rows.high - rows.low)
    with pytest.raises(ConfigError, match="within 3 names"):
        bootstrap(asked, within=[1, 2, 3])
