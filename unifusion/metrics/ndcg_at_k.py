"""Normalised discounted cumulative gain at k of retrieval (nDCG@k)."""

from __future__ import annotations

import numpy as np

from unifusion.metrics._ranking import checked_k, rank

__all__ = ["ndcg_at_k"]


def ndcg_at_k(scores_QN: np.ndarray, relevance_QN: np.ndarray, *, k: int | None = None) -> float:
    """Mean over queries of DCG@k / the DCG@k of the best order; a relevant item at rank r gains 1 / log2(r + 1).

    Jarvelin and Kekalainen 2002, gains 0 and 1. Equals sklearn's `ndcg_score(k=k)` where there are no ties; sklearn averages over ties,
    here they are pessimistic.

    | input | shape | meaning |
    |---|---|---|
    | `scores_QN` | (Q, N) | higher is better |
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one |
    | `k` | | items that count; None for all |

    Raises:
        ConfigError: shapes that do not fit, NaN, a query without a relevant item, or k below 1.
    """
    checked_k(k)
    return float(rank(scores_QN, relevance_QN).ndcg_Q(k).mean())
