"""Recall@k of retrieval: how often something relevant is among the first k."""

from __future__ import annotations

import numpy as np

from unifusion.metrics._ranking import checked_k, rank

__all__ = ["recall_at_k"]


def recall_at_k(scores_QN: np.ndarray, relevance_QN: np.ndarray, *, k: int) -> float:
    """Share of queries with at least one relevant item among the first k, as retrieval papers count it (CLIP, MSR-VTT, Clotho).

    With one relevant item a query it is also the share of relevant items that are found. Ties are pessimistic (`_ranking`), so equal
    scores everywhere give 0 for k <= N - R. Chance: `ranking_chance`.

    | input | shape | meaning |
    |---|---|---|
    | `scores_QN` | (Q, N) | higher is better |
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one |
    | `k` | | items that count; above N it is N |

    Raises:
        ConfigError: shapes that do not fit, NaN, a query without a relevant item, or k below 1.
    """
    checked_k(k)
    return float(rank(scores_QN, relevance_QN).hit_Q(k).mean())
