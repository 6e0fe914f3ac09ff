"""Which rows a step reads: a pure function of (seed, step), so that a run that goes on reads what the unbroken one would have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

from unifusion.errors import ConfigError

__all__ = ["Order", "StepSampler"]

_POOL = 50
"""Batches among which rows are sorted by length."""


class Order:
    """Rows of each micro-batch, epoch after epoch; every epoch is one full pass, its last micro-batch may be smaller.

    Args:
        count: rows of the dataset.
        batch_size: rows of a micro-batch, over all processes.
        seed: another seed gives another order.
        lengths: of each row; rows of about equal length then stand in one micro-batch, and the order of these is random.
        shuffle: False reads the rows as they lie, for a corpus that can only be read forward.

    Raises:
        ConfigError: there are no rows, or not one length a row.
    """

    def __init__(
        self, count: int, batch_size: int, *, seed: int = 0, lengths: Sequence[int] | None = None, shuffle: bool = True
    ) -> None:  # fmt: skip
        if count < 1:
            raise ConfigError("the dataset has no rows;", remedy="check its path and its filters.")
        if lengths is not None and len(lengths) != count:
            raise ConfigError(f"{len(lengths)} lengths for {count} rows;", remedy="give one length a row.")
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.lengths = None if lengths is None else np.asarray(lengths)
        self._epoch, self._turns = lru_cache(maxsize=2)(self._drawn), lru_cache(maxsize=2)(self._shuffled)

    @property
    def steps_per_epoch(self) -> int:
        """Micro-batches of one pass."""
        return -(-self.count // self.batch_size)

    def rows(self, step: int) -> list[int]:
        """The rows of micro-batch `step`, counted from 0 over all epochs."""
        epoch, at = divmod(step, self.steps_per_epoch)
        turn = at if self.lengths is None else int(self._turns(epoch)[at])
        return [int(i) for i in self._epoch(epoch)[turn * self.batch_size : (turn + 1) * self.batch_size]]

    def share(self, step: int, rank: int, world_size: int) -> list[int]:
        """Those that one process of several reads."""
        return self.rows(step)[rank::world_size]

    def _drawn(self, epoch: int) -> np.ndarray:
        """All rows in the order of one epoch (N,) int64; with lengths, sorted by them within pools of batches."""
        if not self.shuffle:
            return np.arange(self.count)
        order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        if self.lengths is None:
            return order
        size = _POOL * self.batch_size
        pools = [order[i : i + size] for i in range(0, self.count, size)]
        return np.concatenate([pool[np.argsort(-self.lengths[pool], kind="stable")] for pool in pools])

    def _shuffled(self, epoch: int) -> np.ndarray:
        """In which order batches of about equal length come in an epoch (steps per epoch,)."""
        return np.random.default_rng((self.seed, epoch, 1)).permutation(self.steps_per_epoch)


class StepSampler(Sampler[list[int]]):
    """A batch sampler that gives one process its rows from one micro-batch to another.

    Args:
        order: of all processes.
        start: first micro-batch.
        stop: the one after the last.
        rank: this process.
        world_size: how many there are.
    """

    def __init__(self, order: Order, start: int, stop: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.order, self.start, self.stop, self.rank, self.world_size = order, start, stop, rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        """Rows of each micro-batch; none where a small last one does not go round."""
        return (self.order.share(step, self.rank, self.world_size) for step in range(self.start, self.stop))

    def __len__(self) -> int:
        """Micro-batches."""
        return self.stop - self.start
