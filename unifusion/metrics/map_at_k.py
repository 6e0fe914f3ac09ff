"""Mean average precision at k of retrieval (mAP@k)."""

from __future__ import annotations

import numpy as np

from unifusion.metrics._ranking import checked_k, rank

__all__ = ["map_at_k"]


def map_at_k(scores_QN: np.ndarray, relevance_QN: np.ndarray, *, k: int | None = None) -> float:
    """Mean over queries of AP@k = (sum over relevant items at rank r <= k of precision at r) / R, as DCASE's mAP@10 and mAP@16.

    R counts all relevant items of a query, as in the baseline of DCASE 2025 task 6 (language-based audio retrieval), so where R > k even
    the best order stays below 1. Other definitions divide by min(R, k) (Kaggle) or by the relevant items found (torchmetrics); for R = 1
    all are 1 / rank within k. With k None it is the mAP over the whole list, sklearn's `average_precision_score` where there are no
    ties. Ties are pessimistic.

    | input | shape | meaning |
    |---|---|---|
    | `scores_QN` | (Q, N) | higher is better |
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one |
    | `k` | | items that count; None for all |

    Raises:
        ConfigError: shapes that do not fit, NaN, a query without a relevant item, or k below 1.
    """
    checked_k(k)
    return float(rank(scores_QN, relevance_QN).precision_Q(k).mean())
