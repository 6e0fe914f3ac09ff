"""An order of rows in which rare labels come more often."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from unifusion.errors import ConfigError
from unifusion.training.order import Order

__all__ = ["Balanced"]


class Balanced(Order):
    """Epochs of as many rows as the dataset has, in which a row of a label with n rows comes in proportion to n ** -beta.

    A label then has a share of an epoch in proportion to n ** (1 - beta): 0 is every row once, 1 the same share for every label, 0.5
    between the two. Shares are kept exactly, to one row, not drawn; within a label each row comes once before any comes again, over the
    borders of epochs. As every order it is a pure function of (seed, step).

    Args:
        labels: of each row; rows with None are a label of their own.
        batch_size: rows of a micro-batch, over all processes.
        beta: from 0 to 1.
        seed: another seed gives another order.
        lengths: of each row, as `Order` takes them.

    Raises:
        ConfigError: there are no rows, beta is out of range, or not one length a row.
    """

    def __init__(
        self, labels: Sequence[Hashable], batch_size: int, *, beta: float = 1.0, seed: int = 0, lengths: Sequence[int] | None = None
    ) -> None:  # fmt: skip
        if not 0 <= beta <= 1:
            raise ConfigError(f"beta of the balanced order is {beta};", remedy="take 0 (every row once) to 1 (labels equally often).")
        super().__init__(len(labels), batch_size, seed=seed, lengths=lengths)
        rows: dict[Hashable, list[int]] = {}
        for row, label in enumerate(labels):
            rows.setdefault(label, []).append(row)
        self._rows = [np.asarray(members) for members in rows.values()]
        sizes = np.array([len(members) for members in self._rows], dtype=np.float64)
        self.per_epoch = dict(zip(rows, _apportioned(sizes ** (1 - beta), len(labels)), strict=True))

    def _permuted(self, epoch: int) -> np.ndarray:
        """Rows in the order of one epoch (N,) int64: each label's next ones, shuffled together."""
        drawn = [self._next(i, epoch * n, n) for i, n in enumerate(self.per_epoch.values())]
        return np.random.default_rng((self.seed, epoch)).permutation(np.concatenate(drawn))

    def _next(self, label: int, start: int, count: int) -> np.ndarray:
        """`count` rows of a label, from the `start`-th on of an endless row of its permutations."""
        members = self._rows[label]
        first, last = start // len(members), -(-(start + count) // len(members))
        turns = [np.random.default_rng((self.seed, 3, label, turn)).permutation(members) for turn in range(first, last)]
        return np.concatenate([members[:0], *turns])[start - first * len(members) :][:count]


def _apportioned(weights: np.ndarray, total: int) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to weights (Hamilton's method: the largest remainders are rounded up)."""
    exact = weights / weights.sum() * total
    parts = np.floor(exact + 1e-9).astype(int)
    for i in np.argsort(parts - exact, kind="stable")[: total - int(parts.sum())]:
        parts[i] += 1
    return [int(n) for n in parts]
