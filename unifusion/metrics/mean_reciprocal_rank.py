"""Mean reciprocal rank of retrieval (MRR)."""

from __future__ import annotations

import numpy as np

from unifusion.metrics._ranking import rank

__all__ = ["mean_reciprocal_rank"]


def mean_reciprocal_rank(scores_QN: np.ndarray, relevance_QN: np.ndarray) -> float:
    """Mean over queries of 1 / rank of their best relevant item; ties are pessimistic.

    | input | shape | meaning |
    |---|---|---|
    | `scores_QN` | (Q, N) | higher is better |
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one |

    Raises:
        ConfigError: shapes that do not fit, NaN, or a query without a relevant item.
    """
    return float(rank(scores_QN, relevance_QN).reciprocal_Q().mean())
