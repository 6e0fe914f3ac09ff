"""All figures of retrieval from vectors at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unifusion.metrics._ranking import rank_vectors, values_of

__all__ = ["retrieval_figures"]


def retrieval_figures(
    queries_QD: np.ndarray, items_ND: np.ndarray, relevance_QN: np.ndarray | None = None, *, ks: Sequence[int] = (1, 5, 10), k: int = 10
) -> dict[str, float]:  # fmt: skip
    """Return `recall_at_1` (5, 10), `median_rank`, `mean_rank`, `map_at_10`, `map`, `ndcg_at_10`, `mean_reciprocal_rank` of one direction.

    The figures are those of the metrics of these names, computed from one ranking by inner product, in blocks; the other direction is
    `retrieval_figures(items_ND, queries_QD, relevance_QN.T)`, chance is `ranking_chance(relevance_QN)`. Ties are pessimistic.

    | input | shape | meaning |
    |---|---|---|
    | `queries_QD` | (Q, D) | vectors, of length one for cosines |
    | `items_ND` | (N, D) | the same |
    | `relevance_QN` | (Q, N) bool | any number of relevant items a query, at least one; None: item i alone of query i |
    | `ks` | | cut-offs of recall |
    | `k` | | cut-off of mAP and nDCG |

    Raises:
        ConfigError: shapes that do not fit, vectors that are not finite, a query without a relevant item, or a k below 1.
    """
    values = values_of(rank_vectors(queries_QD, items_ND, relevance_QN), ks, k)
    return {name: float(np.median(own) if name == "median_rank" else own.mean()) for name, own in values.items()}
