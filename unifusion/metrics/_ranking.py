"""What figures of retrieval share: where the relevant items of each query stand, and what chance gives.

Ties are pessimistic: every irrelevant item with the score of a relevant one, or more, stands before it. So equal scores everywhere (a
collapsed embedding) put the first of R relevant items among N at N - R + 1, which is never better than chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["Ranking", "chance_of", "checked_k", "cosines", "first_rank_pmf", "join", "rank", "rank_vectors", "values_of"]

_BLOCK = 4_000_000
"""Scores at a time: 32 MB."""

_FEW = 16
"""Relevant items up to which irrelevant ones are counted for each; above, they are sorted once (25,000 items: 21 us each, against 590)."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Ranks of the relevant items of Q queries among N items.

    Attributes:
        ranks: int64 (sum of `relevant_Q`,): from 1, ascending within a query, query after query.
        relevant_Q: int64, relevant items of each query, at least 1.
        items: N.
    """

    ranks: np.ndarray
    relevant_Q: np.ndarray
    items: int

    @property
    def starts_Q(self) -> np.ndarray:
        """Where each query's ranks begin."""
        return np.asarray(np.cumsum(self.relevant_Q) - self.relevant_Q)

    @property
    def first_Q(self) -> np.ndarray:
        """Rank of the best relevant item."""
        return np.asarray(self.ranks[self.starts_Q])

    def hit_Q(self, k: int) -> np.ndarray:
        """1.0 where one of the first k items is relevant, else 0.0."""
        return np.asarray(self.first_Q <= k, dtype=np.float64)

    def reciprocal_Q(self) -> np.ndarray:
        """1 / rank of the best relevant item."""
        return np.asarray(1.0 / self.first_Q)

    def precision_Q(self, k: int | None) -> np.ndarray:
        """Average precision among the first k items (None: among all), divided by all R relevant items."""
        number = np.arange(len(self.ranks)) - np.repeat(self.starts_Q, self.relevant_Q) + 1
        gains = np.where(self.ranks <= (k or self.items), number / self.ranks, 0.0)
        return np.asarray(np.add.reduceat(gains, self.starts_Q) / self.relevant_Q)

    def ndcg_Q(self, k: int | None) -> np.ndarray:
        """Discounted gain of the first k items over that of the best order."""
        most = k or self.items
        gains = np.where(self.ranks <= most, 1.0 / np.log2(self.ranks + 1.0), 0.0)
        return np.asarray(np.add.reduceat(gains, self.starts_Q) / _ideal(most, self.items)[self.relevant_Q])


def rank(scores_QN: np.ndarray, relevance_QN: np.ndarray) -> Ranking:
    """Rank the relevant items of every query.

    | input | shape | meaning |
    |---|---|---|
    | `scores_QN` | (Q, N) | higher is better; infinities are scores like others |
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one |

    Raises:
        ConfigError: shapes that do not fit, a mask that is not boolean, NaN among the scores, or a query without a relevant item.
    """
    scores, relevance = np.asarray(scores_QN), np.asarray(relevance_QN)
    if scores.ndim != 2 or relevance.shape != scores.shape or not scores.size or relevance.dtype != bool:
        found = f"scores of shape {scores.shape} with relevance of shape {relevance.shape} and type {relevance.dtype};"
        raise ConfigError(found, remedy="give scores (Q, N) and a boolean mask (Q, N), neither of them empty.")
    relevant_Q = relevance.sum(axis=1, dtype=np.int64)
    if not relevant_Q.all():
        empty = np.flatnonzero(relevant_Q == 0)
        found = f"{len(empty)} of {len(relevant_Q)} queries, such as number {empty[0]}, have no relevant item;"
        raise ConfigError(found, remedy="leave them out and say how many they were: no rank is defined for them.")
    ranks = [_ranks_of(row, mask) for row, mask in zip(scores, relevance, strict=True)]
    return Ranking(ranks=np.concatenate(ranks), relevant_Q=relevant_Q, items=scores.shape[1])


def _ranks_of(scores_N: np.ndarray, relevant_N: np.ndarray) -> np.ndarray:
    """Ranks (R,) of one query's relevant items: their number among the relevant ones, and all irrelevant ones that are not lower."""
    if np.isnan(scores_N.max()):
        raise ConfigError("the scores hold NaN;", remedy="look for vectors that are not finite.")
    own = np.sort(scores_N[relevant_N])[::-1]
    if len(own) <= _FEW:
        not_lower = np.array([np.count_nonzero(scores_N >= score) for score in own])
        among_own = np.array([np.count_nonzero(own >= score) for score in own])
        ahead = not_lower - among_own
    else:
        others = np.sort(scores_N[~relevant_N])
        ahead = len(others) - np.searchsorted(others, own, side="left")
    return np.asarray(ahead + np.arange(1, len(own) + 1))


def join(parts: Sequence[Ranking]) -> Ranking:
    """One ranking of the queries of several, over as many items each."""
    return Ranking(
        ranks=np.concatenate([p.ranks for p in parts]), relevant_Q=np.concatenate([p.relevant_Q for p in parts]), items=parts[0].items
    )  # fmt: skip


def cosines(queries_QD: np.ndarray, items_ND: np.ndarray) -> np.ndarray:
    """Inner products (Q, N) float32 of vectors, summed in float64.

    In float32 alone two equal items can get scores that differ in the last digit by their place in the matrix, which would turn ties
    into a lottery.
    """
    wide = items_ND.astype(np.float64, copy=False)
    return np.asarray((queries_QD.astype(np.float64) @ wide.T).astype(np.float32))


def rank_vectors(queries_QD: np.ndarray, items_ND: np.ndarray, relevance_QN: np.ndarray | None = None) -> Ranking:
    """Rank items by their inner product with each query, in blocks of queries, so that no (Q, N) scores are ever held.

    | input | shape | meaning |
    |---|---|---|
    | `queries_QD` | (Q, D) | vectors, of length one for cosines |
    | `items_ND` | (N, D) | the same |
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one; None: item i alone of query i |

    Raises:
        ConfigError: shapes that do not fit, vectors that are not finite, or a query without a relevant item.
    """
    queries, items = np.asarray(queries_QD), np.asarray(items_ND)
    fits = queries.ndim == items.ndim == 2 and queries.shape[1:] == items.shape[1:] and queries.size and items.size
    if relevance_QN is None and fits and len(queries) == len(items):
        relevance_QN = np.eye(len(queries), dtype=bool)
    if not fits or relevance_QN is None or relevance_QN.shape != (len(queries), len(items)):
        masked = "no relevance" if relevance_QN is None else f"relevance of shape {relevance_QN.shape}"
        found = f"queries of shape {queries.shape}, items of shape {items.shape}, {masked};"
        raise ConfigError(found, remedy="give (Q, D), (N, D) and (Q, N); without relevance as many queries as items.")
    if not (np.isfinite(queries).all() and np.isfinite(items).all()):
        raise ConfigError("vectors that are not finite;", remedy="look for overflow in the model or a loss that was not finite.")
    step = max(1, _BLOCK // len(items))
    wide = items.astype(np.float64)  # once, not for every block
    return join([rank(cosines(queries[i : i + step], wide), relevance_QN[i : i + step]) for i in range(0, len(queries), step)])


def values_of(ranking: Ranking, ks: Sequence[int] = (1, 5, 10), k: int = 10) -> dict[str, np.ndarray]:
    """Name of a figure -> its number (Q,) for each query; the figure is their mean, of `median_rank` their median.

    Args:
        ranking: of the queries.
        ks: cut-offs of recall.
        k: cut-off of mAP and nDCG.
    """
    for one in (*ks, k):
        checked_k(one)
    values = {f"recall_at_{one}": ranking.hit_Q(one) for one in ks}
    values |= {"median_rank": ranking.first_Q, "mean_rank": ranking.first_Q}
    values |= {f"map_at_{k}": ranking.precision_Q(k), "map": ranking.precision_Q(None), f"ndcg_at_{k}": ranking.ndcg_Q(k)}
    return values | {"mean_reciprocal_rank": ranking.reciprocal_Q()}


def checked_k(k: int | None) -> None:
    """Refuse a cut-off below 1.

    Raises:
        ConfigError: it is.
    """
    if k is not None and k < 1:
        raise ConfigError(f"k is {k};", remedy="count items from 1.")


def _ideal(k: int, items: int) -> np.ndarray:
    """Discounted gain (N + 1,) of the best order where 0 .. N items are relevant."""
    gains = np.where(np.arange(1, items + 1) <= k, 1.0 / np.log2(np.arange(2, items + 2)), 0.0)
    return np.concatenate([[0.0], np.cumsum(gains)])


def first_rank_pmf(relevant: int, items: int) -> np.ndarray:
    """Chance (N,) that the best of R relevant items stands at rank 1 .. N where all orders are equally likely."""
    rank_N = np.arange(1, items + 1, dtype=np.float64)
    # P(first > r) = prod_{i < r} (N - R - i) / (N - i)
    left = np.clip(items - relevant - (rank_N - 1), 0, None) / (items - (rank_N - 1))
    beyond = np.concatenate([[1.0], np.cumprod(left)])
    return np.asarray(beyond[:-1] - beyond[1:])


def chance_of(relevant: int, items: int, k: int | None) -> dict[str, float]:
    """Exact expectations over all orders of N items, R of them relevant.

    Returns:
        `hit` (at k), `reciprocal`, `mean_rank`, `precision` (average precision at k, over R) and `ndcg` (at k).
    """
    most = min(k or items, items)
    pmf = first_rank_pmf(relevant, items)
    place = np.arange(1, most + 1, dtype=np.float64)
    # An item stands at place i with chance 1 / N each; given that it is relevant, (i - 1) (R - 1) / (N - 1) of those before it are.
    before = (place - 1) * (relevant - 1) / max(items - 1, 1)
    return {
        "hit": float(pmf[:most].sum()), "reciprocal": float((pmf / np.arange(1, items + 1)).sum()),
        "mean_rank": (items + 1) / (relevant + 1), "precision": float(((1 + before) / place).sum() / items),
        "ndcg": float(relevant / items * (1.0 / np.log2(place + 1)).sum() / _ideal(most, items)[relevant]),
    }  # fmt: skip
