"""Late fusion `gating`: gates from all models' answers together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from unifusion.models.late_fusions._net import NetMixture, Pool, normal

__all__ = ["Gating"]


class Gating(NetMixture):
    """One sigmoid gate a model, all told from what all models said and which of them are there; scaled to sum to 1 over those.

    Unlike attention a gate sees the other models: that two of them agree against the third. After the gated units of Arevalo et al., "Gated
    multimodal units" (2017), and mixtures of experts (Jacobs et al. 1991).
    """

    def build(self, models: int, width: int) -> Pool:
        """The gating network."""
        return _Gates(models, width, self.config.hidden, self.config.seed)


class _Gates(Pool):
    """Columns of all models to logarithms of gates; all gates are equal at first.

    Args:
        models: M.
        width: F of a model's columns.
        hidden: H of what the gates are told from.
        seed: of the first layer, whose weights begin the same for every model, so that their order does not matter.
    """

    def __init__(self, models: int, width: int, hidden: int, seed: int) -> None:
        super().__init__()
        self.read = nn.Parameter(normal(seed, hidden, width).detach().expand(models, -1, -1).clone() / models)
        # Without it the hidden layer would be odd, and no gate could tell two models that agree on one label or on the other.
        self.offset = nn.Parameter(normal(seed + 1, hidden, 1).detach()[:, 0].clone())
        self.gates = nn.Parameter(torch.zeros(models, hidden, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(models, dtype=torch.float64))

    def forward(self, columns_NMF: Tensor) -> Tensor:
        """Logarithms (N, M) of the gates of columns (N, M, F)."""
        hidden_NH = torch.tanh(torch.einsum("nmf,mhf->nh", columns_NMF, self.read) + self.offset)
        return functional.logsigmoid(hidden_NH @ self.gates.T + self.bias)
