"""Fusions whose weights a small network tells example by example: how it is fitted, stopped early, kept and restored."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from unifusion.models.late_fusions._common import Mixture, fit_temperatures, fits, matched, numbers
from unifusion.models.late_fusions._folds import folds_of
from unifusion.models.late_fusions.late_fusion import LateFusion, Said

__all__ = ["NetMixture", "Pool", "normal"]


class NetMixture(Mixture):
    """A network's shares of the models, by which their answers are multiplied after a temperature made each honest.

    The fused answer is the geometric mean by those shares, to the power n ** c, n being how many models are there and c learned: 0 leaves
    the geometric mean, 1 is the product of experts that err independently, and one model alone keeps its own answer. (A weighted sum,
    never sure enough, drives the shares to a single model: over five made-up models that err independently gating by sums was right 0.87
    of the time where the plain average was right 0.96; this product is right 0.97.)

    Before it is fitted a network gives equal shares. How many steps it is fitted for is what is best, on average, for groups left out;
    where none is better than equal shares, these are kept. Everything is float64 on the CPU and decided by the seed.

    Args:
        config: see Config.
    """

    @dataclass(kw_only=True)
    class Config(LateFusion.Config):
        """Choices."""

        hidden: int = 16
        """Width of the network."""
        steps: int = 200
        """At most."""
        learning_rate: float = 0.02
        weight_decay: float = 0.1
        folds: int = 3
        """By groups, to find the number of steps."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.temperatures_M, self.labels, self.steps = np.zeros(0), 0, 0
        self.net: Pool | None = None

    @abstractmethod
    def build(self, models: int, width: int) -> Pool:
        """A network from columns (N, M, width), 0 for a model that is not there, to log-weights (N, M), all equal at first."""

    def fit(self, said: Said, truth_N: np.ndarray, groups_N: np.ndarray) -> Self:
        """Fit temperatures and the network on N examples by full batches.

        Raises:
            DatasetError: too few examples or labels.
        """
        said, truth_N, groups_N = matched(said, truth_N, groups_N)
        self.temperatures_M, self.labels = fit_temperatures(said, truth_N), said.probabilities_NMK.shape[2]
        data = _Data(self.shown(said), truth_N)
        lost = [self._run(data, fit_N, self.config.steps, ask_N)[1] for fit_N, ask_N in folds_of(groups_N, self.config.folds)]
        self.steps = int(np.mean(lost, axis=0).argmin())
        self.net = self._run(data, np.arange(len(truth_N)), self.steps)[0]
        return self

    def _run(self, data: _Data, fit_N: np.ndarray, steps: int, ask_N: np.ndarray | None = None) -> tuple[Pool, list[float]]:
        """A network fitted on some rows, and the loss on others before each step and after the last."""
        net = self.build(data.columns_NMF.shape[1], data.columns_NMF.shape[2])
        optimizer = torch.optim.AdamW(net.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay)
        lost = []
        for _ in range(steps + (ask_N is not None)):
            optimizer.zero_grad()
            losses_N = data.losses(net)
            if ask_N is not None:
                lost.append(float(losses_N.detach()[ask_N].mean()))
            losses_N[fit_N].mean().backward()
            optimizer.step()
        return net.eval(), lost

    def weights(self, said: Said) -> np.ndarray:
        """What the network tells (N, M)."""
        net, data = self._asked(said)
        with torch.no_grad():
            found_NM: np.ndarray = data.shares(net).exp().numpy() * data.there_NM.numpy()
        return found_NM

    def fuse(self, said: Said) -> np.ndarray:
        """Probabilities (N, K)."""
        net, data = self._asked(said)
        with torch.no_grad():
            told_NK: np.ndarray = data.told(net).exp().numpy()
        return np.where(data.there_NM.any(dim=1, keepdim=True).numpy(), told_NK / told_NK.sum(axis=1, keepdims=True), np.nan)

    def _asked(self, said: Said) -> tuple[Pool, _Data]:
        """The network and what it reads.

        Raises:
            ConfigError: it is not fitted, or on other models or labels.
        """
        shown_NMK = self.shown(said)
        fits(shown_NMK, 0 if self.net is None else shown_NMK.shape[1], self.labels)
        return cast(Pool, self.net), _Data(shown_NMK, None)

    def state(self) -> dict[str, Any]:
        """Temperatures, sizes, the number of steps, and the network's weights."""
        weights = {} if self.net is None else {k: v.tolist() for k, v in self.net.state_dict().items()}
        told = {"temperatures": numbers(self.temperatures_M).tolist(), "labels": self.labels, "steps": self.steps}
        return {**told, "weights": weights}

    def restore(self, state: dict[str, Any]) -> Self:
        """Take up what `state` gave."""
        self.temperatures_M, self.labels, self.steps = numbers(state["temperatures"]), int(state["labels"]), int(state["steps"])
        self.net = self.build(len(self.temperatures_M), self.labels + 2)
        self.net.load_state_dict({k: torch.tensor(v, dtype=torch.float64) for k, v in state["weights"].items()})
        self.net.eval()
        return self


class Pool(nn.Module):
    """What tells the shares; `power` is c of the fused answer."""

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.zeros((), dtype=torch.float64))


class _Data:
    """What a network reads of N examples, as tensors.

    Args:
        shown_NMK: tempered answers, NaN where a model is missing.
        truth_N: numbers of the labels.
    """

    def __init__(self, shown_NMK: np.ndarray, truth_N: np.ndarray | None) -> None:
        there_NM = ~np.isnan(shown_NMK).any(axis=2)
        labels = shown_NMK.shape[2]
        logs_NMK = np.log(np.where(there_NM[..., None], np.maximum(shown_NMK, 1e-9), 1 / labels))
        entropy_NM1 = -(np.exp(logs_NMK) * logs_NMK).sum(axis=2, keepdims=True) / np.log(labels)
        centred_NMK = (logs_NMK - logs_NMK.mean(axis=2, keepdims=True)) / np.log(labels)
        columns = np.concatenate([centred_NMK, entropy_NM1, np.ones_like(entropy_NM1)], axis=2) * there_NM[..., None]
        self.columns_NMF, self.there_NM = torch.from_numpy(columns), torch.from_numpy(there_NM)
        self.logs_NMK, self.truth_N = torch.from_numpy(logs_NMK), torch.from_numpy(np.zeros(0, np.int64) if truth_N is None else truth_N)

    def shares(self, net: Pool) -> Tensor:
        """Logarithms (N, M) of shares that sum to 1 over the models that are there."""
        found_NM: Tensor = net(self.columns_NMF)
        return found_NM.masked_fill(~self.there_NM, -1e9).log_softmax(dim=1)

    def told(self, net: Pool) -> Tensor:
        """Logarithms (N, K) of the fused answers."""
        shares_NM = self.shares(net).exp() * self.there_NM
        count_N = self.there_NM.sum(dim=1).clamp(min=1).double()
        sums_NK = (shares_NM[..., None] * self.logs_NMK).sum(dim=1)
        return (count_N[:, None] ** net.power * sums_NK).log_softmax(dim=1)

    def losses(self, net: Pool) -> Tensor:
        """Cross-entropy (N,) of the fused answers."""
        return -self.told(net).gather(1, self.truth_N[:, None])[:, 0]


def normal(seed: int, rows: int, columns: int) -> nn.Parameter:
    """A float64 matrix drawn by a seed, its columns scaled so that sums keep about unit size."""
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(rows, columns, generator=generator, dtype=torch.float64) / columns**0.5)
