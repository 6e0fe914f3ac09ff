"""What figures of retrieval are by chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unifusion.errors import ConfigError
from unifusion.metrics._ranking import chance_of, checked_k, first_rank_pmf

__all__ = ["ranking_chance"]


def ranking_chance(relevance_QN: np.ndarray, *, ks: Sequence[int] = (1, 5, 10), k: int = 10) -> dict[str, float]:
    """Expectation of each figure of `retrieval_figures` where all orders of the items are equally likely: exact, nothing is drawn.

    With R of N items relevant: recall@k is 1 - C(N - R, k) / C(N, k); the mean rank of the best one (N + 1) / (R + 1); mAP@k, nDCG@k and
    the mean reciprocal rank are sums over places. `median_rank` is the median of the best one's rank over all queries and orders.

    | input | shape | meaning |
    |---|---|---|
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one |
    | `ks` | | cut-offs of recall |
    | `k` | | cut-off of mAP and nDCG |

    Raises:
        ConfigError: no boolean mask (Q, N), a query without a relevant item, or a k below 1.
    """
    relevance = np.asarray(relevance_QN)
    if relevance.ndim != 2 or relevance.dtype != bool or not relevance.size or not relevance.any(axis=1).all():
        found = f"relevance of shape {relevance.shape} and type {relevance.dtype};"
        raise ConfigError(found, remedy="give a boolean mask (Q, N) with a relevant item for each query.")
    for one in (*ks, k):
        checked_k(one)
    items = relevance.shape[1]
    counts, times = np.unique(relevance.sum(axis=1), return_counts=True)
    shares = times / times.sum()
    whole, cut = ([chance_of(int(r), items, cutoff) for r in counts] for cutoff in (None, k))

    def mean(of: list[dict[str, float]], key: str) -> float:
        """Over the queries."""
        return float(sum(share * one[key] for share, one in zip(shares, of, strict=True)))

    pmf_N = sum(share * first_rank_pmf(int(r), items) for share, r in zip(shares, counts, strict=True))
    told = {f"recall_at_{one}": mean([chance_of(int(r), items, one) for r in counts], "hit") for one in ks}
    told |= {"median_rank": _median(np.asarray(pmf_N)), "mean_rank": mean(whole, "mean_rank")}
    told |= {f"map_at_{k}": mean(cut, "precision"), "map": mean(whole, "precision"), f"ndcg_at_{k}": mean(cut, "ndcg")}
    return told | {"mean_reciprocal_rank": mean(whole, "reciprocal")}


def _median(pmf_N: np.ndarray) -> float:
    """Median of a rank; between two ranks where exactly half lies on either side."""
    below = np.cumsum(pmf_N)
    low = int(np.argmax(below >= 0.5 - 1e-12)) + 1
    high = int(np.argmax(below > 0.5 + 1e-12)) + 1
    return (low + high) / 2
