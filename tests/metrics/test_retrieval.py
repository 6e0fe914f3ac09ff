"""Figures of retrieval against brute force, scikit-learn and all orders; ties, chance, and what is refused."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion import catalog
from unifusion.errors import ConfigError
from unifusion.metrics import _ranking
from unifusion.metrics._ranking import cosines
from unifusion.metrics.map_at_k import map_at_k
from unifusion.metrics.mean_rank import mean_rank
from unifusion.metrics.mean_reciprocal_rank import mean_reciprocal_rank
from unifusion.metrics.median_rank import median_rank
from unifusion.metrics.ndcg_at_k import ndcg_at_k
from unifusion.metrics.ranking_chance import ranking_chance
from unifusion.metrics.recall_at_k import recall_at_k
from unifusion.metrics.retrieval_figures import retrieval_figures
from unifusion.metrics.zero_shot_accuracy import zero_shot_accuracy

NAMES = ("recall_at_k", "median_rank", "mean_rank", "map_at_k", "ndcg_at_k", "mean_reciprocal_rank", "ranking_chance", "retrieval_figures")
ALL = {
    "recall_at_1": lambda s, r: recall_at_k(s, r, k=1), "recall_at_5": lambda s, r: recall_at_k(s, r, k=5),
    "recall_at_10": lambda s, r: recall_at_k(s, r, k=10), "median_rank": median_rank, "mean_rank": mean_rank,
    "map_at_10": lambda s, r: map_at_k(s, r, k=10), "map": map_at_k, "ndcg_at_10": lambda s, r: ndcg_at_k(s, r, k=10),
    "mean_reciprocal_rank": mean_reciprocal_rank,
}  # fmt: skip


@st.composite
def cases(draw, ties=True):
    """Scores (Q, N), often with ties, and a mask with at least one relevant item a query."""
    queries, items = draw(st.integers(1, 4)), draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    levels = draw(st.sampled_from([1, 2, 4])) if ties else None
    scores = rng.integers(levels, size=(queries, items)) / 2 if ties else rng.permuted(np.arange(queries * items)).reshape(queries, items)
    relevance = rng.random((queries, items)) < draw(st.sampled_from([0.05, 0.3, 0.9]))
    relevance[np.arange(queries), rng.integers(items, size=queries)] = True
    return scores.astype(np.float32), relevance


def lists(scores, relevance):
    """Relevance of each query's items in the order in which a pessimist reads them."""
    for row, mask in zip(scores.tolist(), relevance.tolist(), strict=True):
        yield [m for _, m in sorted(zip(row, mask, strict=True), key=lambda pair: (-pair[0], pair[1]))]


def brute(scores, relevance, k):
    """The figures, one query and one place at a time."""
    first, recall, precision, gain = [], [], [], []
    for order in lists(scores, relevance):
        first.append(order.index(True) + 1)
        recall.append(any(order[:k]))
        hits = [sum(order[: i + 1]) / (i + 1) for i in range(min(k, len(order))) if order[i]]
        precision.append(sum(hits) / sum(order))
        best = sum(1 / math.log2(i + 2) for i in range(min(k, sum(order))))
        gain.append(sum(1 / math.log2(i + 2) for i in range(min(k, len(order))) if order[i]) / best)
    reciprocal = np.mean([1 / r for r in first])
    return np.mean(recall), np.median(first), np.mean(first), np.mean(precision), np.mean(gain), reciprocal


@pytest.mark.parametrize("name", [*NAMES, "zero_shot_accuracy"])
def test_the_catalog_finds_it_by_its_stem(name):
    assert catalog.load("metrics", name).__name__ == name


@pytest.mark.parametrize("few", [0, 16])
@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(1, 30))
def test_every_figure_equals_brute_force_with_ties(few, case, k):
    before, _ranking._FEW = _ranking._FEW, few
    try:
        scores, relevance = case
        found = (
            recall_at_k(scores, relevance, k=k), median_rank(scores, relevance), mean_rank(scores, relevance),
            map_at_k(scores, relevance, k=k), ndcg_at_k(scores, relevance, k=k), mean_reciprocal_rank(scores, relevance),
        )  # fmt: skip
    finally:
        _ranking._FEW = before
    assert found == pytest.approx(brute(scores, relevance, k), abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(cases(ties=False), st.integers(1, 30))
def test_without_ties_they_equal_sklearns(case, k):
    from sklearn.metrics import average_precision_score, ndcg_score

    scores, relevance = case
    assert map_at_k(scores, relevance) == pytest.approx(
        np.mean([average_precision_score(r, s) for r, s in zip(relevance, scores, strict=True)]), abs=1e-12
    )
    if scores.shape[1] > 1:  # sklearn has none of a single item
        assert ndcg_at_k(scores, relevance, k=k) == pytest.approx(ndcg_score(relevance, scores, k=k, ignore_ties=True), abs=1e-12)
        assert ndcg_at_k(scores, relevance) == pytest.approx(ndcg_score(relevance, scores), abs=1e-12)


@pytest.mark.parametrize(("items", "relevant"), [(1, 1), (4, 1), (5, 1), (5, 2), (6, 3), (6, 6), (7, 2)])
def test_chance_is_the_mean_over_all_orders(items, relevant):
    """Each set of places that relevant items can take is as likely as another."""
    orders = list(itertools.combinations(range(items), relevant))
    relevance = np.zeros((len(orders), items), bool)
    for row, places in zip(relevance, orders, strict=True):
        row[list(places)] = True
    scores = np.tile(np.arange(items, 0, -1.0), (len(orders), 1))
    told = ranking_chance(relevance, ks=(1, 5, 10), k=3)
    wanted = {name: call(scores, relevance) for name, call in ALL.items() if name not in ("map_at_10", "ndcg_at_10")}
    wanted |= {"map_at_3": map_at_k(scores, relevance, k=3), "ndcg_at_3": ndcg_at_k(scores, relevance, k=3)}
    assert told == pytest.approx(wanted, abs=1e-12)


def test_chance_of_queries_with_different_numbers_is_their_mean():
    relevance = np.zeros((4, 12), bool)
    relevance[0, 0] = relevance[1, :3] = relevance[2, :3] = relevance[3] = True
    each = [ranking_chance(row[None]) for row in relevance]
    told = ranking_chance(relevance)
    for name in set(told) - {"median_rank"}:
        assert told[name] == pytest.approx(np.mean([one[name] for one in each]), abs=1e-12)
    draws = np.random.default_rng(0).random((20_000, 12))
    firsts = [np.sort(np.argsort(np.argsort(draws))[:, row], axis=1)[:, 0] + 1 for row in relevance]
    assert told["median_rank"] == np.median(np.concatenate(firsts))


def test_chance_of_a_thousand_items():
    told = ranking_chance(np.eye(1000, dtype=bool))
    assert told["recall_at_10"] == pytest.approx(0.01) and told["median_rank"] == told["mean_rank"] == pytest.approx(500.5)
    assert told["mean_reciprocal_rank"] == pytest.approx(sum(1 / r for r in range(1, 1001)) / 1000)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 1000))
def test_a_collapsed_embedding_is_at_chance_or_below(items, relevant, seed):
    rng = np.random.default_rng(seed)
    relevance = np.zeros((3, items), bool)
    for row in relevance:
        row[rng.choice(items, min(relevant, items), replace=False)] = True
    vectors = np.tile(rng.normal(size=16).astype(np.float32), (items + 3, 1))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found, chance = retrieval_figures(vectors[:3], vectors[3:], relevance), ranking_chance(relevance)
    for name, value in found.items():
        assert value >= chance[name] - 1e-9 if name in ("median_rank", "mean_rank") else value <= chance[name] + 1e-9
    if relevant < items:
        assert found["recall_at_1"] == 0.0 and found["median_rank"] == items - relevant + 1


def test_equal_vectors_score_the_same_wherever_they_stand():
    """float32 products of one row with 1,003 equal columns differ by 1e-5 with the column; those of float64, rounded, do not."""
    rng = np.random.default_rng(0)
    query = rng.normal(size=(7, 512)).astype(np.float32)
    items = np.tile(rng.normal(size=512).astype(np.float32), (1003, 1))
    assert (np.ptp(cosines(query, items), axis=1) == 0).all() and np.ptp(cosines(query[:1], items)) == 0


@pytest.mark.parametrize("block", [1, 30, 4_000_000])
def test_all_at_once_equals_one_by_one(monkeypatch, block):
    monkeypatch.setattr(_ranking, "_BLOCK", block)
    rng = np.random.default_rng(1)
    queries, items = rng.normal(size=(11, 6)), rng.normal(size=(13, 6))
    relevance = rng.random((11, 13)) < 0.2
    relevance[:, 4] = True
    found = retrieval_figures(queries, items, relevance)
    scores = cosines(queries, items)
    assert found == pytest.approx({name: call(scores, relevance) for name, call in ALL.items()}, abs=1e-12)
    back = retrieval_figures(items, queries, np.where(relevance.any(0)[:, None], relevance.T, True))
    assert back != found
    alone = retrieval_figures(queries, queries, ks=(1,), k=2)
    assert list(alone) == [
        "recall_at_1", "median_rank", "mean_rank", "map_at_2", "map", "ndcg_at_2", "mean_reciprocal_rank",
    ]  # fmt: skip
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    assert retrieval_figures(unit, unit)["recall_at_1"] == 1.0


@pytest.mark.parametrize(
    ("scores", "relevance", "said"),
    [
        (np.zeros((2, 3)), np.array([[1, 0, 0], [0, 0, 0]], bool), "1 of 2 queries, such as number 1, have no relevant item"),
        (np.zeros((2, 3)), np.ones((3, 2), bool), "shape"),
        (np.zeros((2, 3)), np.ones((2, 3), int), "boolean"),
        (np.zeros((0, 3)), np.ones((0, 3), bool), "empty"),
        (np.array([[0.0, np.nan]]), np.array([[True, False]]), "NaN"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, relevance, said):
    for name, call in ALL.items():
        with pytest.raises(ConfigError, match=said):
            call(scores, relevance)
        assert name


def test_other_things_that_are_refused():
    one = np.ones((1, 1), bool)
    for call in (recall_at_k, map_at_k, ndcg_at_k):
        with pytest.raises(ConfigError, match="k is 0"):
            call(np.zeros((1, 1)), one, k=0)
    for wrong in (np.zeros((2, 2), bool), np.ones((2, 2)), np.ones(3, bool)):
        with pytest.raises(ConfigError, match="relevant item for each query"):
            ranking_chance(wrong)
    with pytest.raises(ConfigError, match="k is -1"):
        ranking_chance(one, ks=(-1,))
    with pytest.raises(ConfigError, match="as many queries as items"):
        retrieval_figures(np.zeros((2, 4)), np.zeros((3, 4)))
    with pytest.raises(ConfigError, match="not finite"):
        retrieval_figures(np.full((2, 4), np.inf), np.zeros((2, 4)))


def test_infinite_scores_are_scores():
    scores = np.array([[-np.inf, 1.0, 0.5]])
    assert mean_rank(scores, np.array([[True, False, False]])) == 3 and mean_rank(scores, np.array([[False, True, False]])) == 1


def test_many_items_are_ranked_in_seconds():
    """A generous bound: 5,000 queries over 25,000 items took 0.2 s for five relevant items each and 3.1 s for 500, on one core."""
    rng = np.random.default_rng(0)
    scores = rng.random((300, 25_000), dtype=np.float32)
    relevance = np.zeros(scores.shape, bool)
    relevance[np.arange(300), np.arange(300)] = True
    began = time.process_time()
    recall_at_k(scores, relevance, k=10)
    relevance[:, :500] = True
    map_at_k(scores, relevance, k=10)
    assert time.process_time() - began < 6


def test_zero_shot_is_nearest_class_and_a_shared_place_is_wrong():
    classes = np.eye(3)
    rows = np.array([[1, 0, 0], [0.6, 0.8, 0], [0.7, 0.7, 0], [0, 0.1, 0.9]])
    assert zero_shot_accuracy(rows, classes, np.array([0, 1, 0, 2])) == 0.75
    assert zero_shot_accuracy(rows, np.tile([[1.0, 0, 0]], (3, 1)), np.array([0, 1, 0, 2])) == 0.0
    prompts = np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]])
    assert zero_shot_accuracy(np.array([[0.8, 0.8, 0], [0, 0, 1]]), prompts, np.array([0, 1])) == 1.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 6))
def test_zero_shot_equals_argmax_where_nothing_ties(seed, n_classes):
    rng = np.random.default_rng(seed)
    rows, classes, targets = rng.normal(size=(20, 8)), rng.normal(size=(n_classes, 8)), rng.integers(n_classes, size=20)
    assert zero_shot_accuracy(rows, classes, targets) == np.mean((rows @ classes.T).argmax(1) == targets)


@pytest.mark.parametrize(
    ("rows", "classes", "targets", "said"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4)), [0, 1], "shape"),
        (np.zeros((2, 3)), np.zeros((1, 3)), [0, 0], "2 or more"),
        (np.zeros((2, 3)), np.zeros((2, 3)), [0, 2], "below V"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), [0, 1], "not finite"),
        (np.zeros((2, 3)), np.zeros((2, 2, 3)), [0, 1], "cancel out"),
    ],
)
def test_zero_shot_refuses_what_does_not_fit(rows, classes, targets, said):
    with pytest.raises(ConfigError, match=said):
        zero_shot_accuracy(rows, classes, np.array(targets))
