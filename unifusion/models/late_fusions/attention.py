"""Late fusion `attention`: for each example, attention over the models."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unifusion.models.late_fusions._net import NetMixture, Pool, normal

__all__ = ["Attention"]


class Attention(NetMixture):
    """A score a model from its own answer to the example, and the softmax of the scores of the models that are there.

    The score is additive attention (Bahdanau et al. 2015) over log-probabilities and entropy, by a network all models share, plus a line of
    the model's own: what it is to be believed about, and how much.
    """

    def build(self, models: int, width: int) -> Pool:
        """The scoring network."""
        return _Scores(models, width, self.config.hidden, self.config.seed)


class _Scores(Pool):
    """Columns to scores; 0 for all at first.

    Args:
        models: M.
        width: F of a model's columns.
        hidden: H of what is shared.
        seed: of the shared weights.
    """

    def __init__(self, models: int, width: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.shared = normal(seed, hidden, width)
        self.out = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.own = nn.Parameter(torch.zeros(models, width, dtype=torch.float64))

    def forward(self, columns_NMF: Tensor) -> Tensor:
        """Scores (N, M) of columns (N, M, F), each by its own model's alone."""
        scores_NM: Tensor = torch.tanh(columns_NMF @ self.shared.T) @ self.out + (columns_NMF * self.own).sum(dim=-1)
        return scores_NM
