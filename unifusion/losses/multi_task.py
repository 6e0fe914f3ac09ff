"""Several tasks as one loss: fixed weights, or weights that are learned from how uncertain each task is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from unifusion.errors import ConfigError

__all__ = ["MultiTask"]

_IGNORE = -100


class MultiTask(nn.Module):
    """The weighted sum of the losses of tasks, such as `emotion`, `valence` and `arousal`.

    Fixed: sum of weight * loss. Uncertain: each task has a learned log-variance s; classification adds exp(-s) * loss + s / 2, regression
    exp(-s) / 2 * loss + s / 2 (Kendall et al., "Multi-task learning using uncertainty to weigh losses", 2018, eq. 7 and 10; for CCC, which
    is no likelihood, the same form is a heuristic). The log-variances are parameters: give them to the optimizer, without weight decay.

    A row that lacks a task's target is left out of that task by the task's own loss; a task that no row of a batch has a target of adds
    nothing, its s included, but is still part of the graph, so that processes of a parallel training agree on what has a gradient.

    Args:
        losses: task -> loss of its outputs and targets, () over the known ones.
        weights: task -> factor; 1 where it is not named. Also applied, beside exp(-s), where weights are learned.
        uncertain: whether to learn weights.
        regressions: tasks that are no classification.

    Raises:
        ConfigError: a weight or regression names no task.
    """

    def __init__(
        self, losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]], *, weights: Mapping[str, float] | None = None,
        uncertain: bool = False, regressions: Collection[str] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        stray = [name for name in (*(weights or {}), *regressions) if name not in losses]
        if stray or not losses:
            raise ConfigError(f"no task {stray[0] if stray else ''!r} among {list(losses)};", remedy="name tasks that have a loss.")
        self.losses = dict(losses)
        self.factors = {name: (weights or {}).get(name, 1.0) for name in losses}
        self.regressions = frozenset(regressions)
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in losses} if uncertain else {})

    def forward(self, outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum up the tasks of a batch.

        Args:
            outputs: task -> logits (B, K) or numbers (B,).
            targets: task -> int64 (B,) with -100, or float with NaN, where it is not known.

        Returns:
            the loss (), and task -> its own loss (), detached and without weights, for the tasks that some row has a target of.

        Raises:
            ConfigError: a task has no output or no target.
        """
        if lacking := [name for name in self.losses if name not in outputs or name not in targets]:
            raise ConfigError(f"the task {lacking[0]!r} has no output or no target;", remedy="give both of every task.")
        total, parts = torch.zeros((), device=next(iter(outputs.values())).device), {}
        for name, loss in self.losses.items():
            value = loss(outputs[name], targets[name])
            known = bool(_known(targets[name]).any())
            if known:
                parts[name] = value.detach()
            if name in self.log_variances:
                s = self.log_variances[name]
                value = (0.5 if name in self.regressions else 1.0) * torch.exp(-s) * self.factors[name] * value + 0.5 * s
            else:
                value = self.factors[name] * value
            total = total + (value if known else 0.0 * value)
        return total, parts


def _known(targets: Tensor) -> Tensor:
    """Which targets are known."""
    return ~targets.isnan() if targets.is_floating_point() else targets != _IGNORE
