"""Which rows a step reads: a pure function of (seed, step), so that a run that goes on reads what the unbroken one would have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

from unifusion.errors import ConfigError
from unifusion.processor.packing import pack

__all__ = ["Endless", "Order", "Packs", "StepSampler"]

_POOL = 50
"""Batches among which rows are sorted by length."""
_PACK_POOL = 4096
"""Rows among which packs are sought."""


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
        order = self._permuted(epoch)
        if self.lengths is None:
            return order
        size = _POOL * self.batch_size
        pools = [order[i : i + size] for i in range(0, self.count, size)]
        return np.concatenate([pool[np.argsort(-self.lengths[pool], kind="stable")] for pool in pools])

    def _permuted(self, epoch: int) -> np.ndarray:
        """Rows in the random order of one epoch (N,) int64."""
        return np.random.default_rng((self.seed, epoch)).permutation(self.count)

    def _shuffled(self, epoch: int) -> np.ndarray:
        """In which order batches of about equal length come in an epoch (steps per epoch,)."""
        return np.random.default_rng((self.seed, epoch, 1)).permutation(self.steps_per_epoch)


class Endless(Order):
    """Rows as they come, on and on: for a corpus that draws its rows itself, and knows any index.

    Args:
        count: rows of what is called an epoch.
        batch_size: rows of a micro-batch, over all processes.
    """

    def __init__(self, count: int, batch_size: int) -> None:
        super().__init__(count, batch_size, shuffle=False)

    def rows(self, step: int) -> list[int]:
        """The rows of micro-batch `step`."""
        return list(range(step * self.batch_size, (step + 1) * self.batch_size))


class Packs(Order):
    """Rows of each epoch in packs of at most so many tokens; a micro-batch is one pack in each process.

    Rows are drawn into pools in a new order each epoch, and each pool is packed: every row is in exactly one pack.

    Args:
        lengths: tokens of each row.
        limit: of a pack.
        world_size: processes.
        seed: another seed gives other packs.
        names: what errors call the rows.

    Raises:
        LimitError: a row is longer than a pack; names it.
    """

    def __init__(
        self, lengths: Sequence[int], limit: int, *, world_size: int = 1, seed: int = 0, names: Sequence[str] = ()
    ) -> None:  # fmt: skip
        pack(lengths, limit, names)
        super().__init__(len(lengths), world_size, seed=seed)
        self.limit, self.tokens = limit, [int(n) for n in lengths]
        self._ends: list[int] = []
        self._packs = lru_cache(maxsize=2)(self._packed)

    @property
    def steps_per_epoch(self) -> int:
        """Micro-batches of the first pass; others have as many, or one or two more or less."""
        return -(-len(self._packs(0)) // self.batch_size)

    def rows(self, step: int) -> list[int]:
        """The rows of micro-batch `step`, of all processes."""
        return [row for rank in range(self.batch_size) for row in self.share(step, rank, self.batch_size)]

    def share(self, step: int, rank: int, world_size: int) -> list[int]:
        """The pack of one process; none where the last ones of an epoch do not go round."""
        while not self._ends or self._ends[-1] <= step:
            packs = self._packs(len(self._ends))
            self._ends.append((self._ends[-1] if self._ends else 0) + -(-len(packs) // world_size))
        epoch = next(e for e, end in enumerate(self._ends) if step < end)
        at = (step - (self._ends[epoch - 1] if epoch else 0)) * world_size + rank
        packs = self._packs(epoch)
        return packs[at] if at < len(packs) else []

    def _packed(self, epoch: int) -> list[list[int]]:
        """The packs of one epoch, in an order of their own."""
        order = [int(i) for i in self._epoch(epoch)]
        packs = []
        for first in range(0, len(order), _PACK_POOL):
            pool = order[first : first + _PACK_POOL]
            packs += [[pool[i] for i in members] for members in pack([self.tokens[i] for i in pool], self.limit)]
        return [packs[i] for i in np.random.default_rng((self.seed, epoch, 2)).permutation(len(packs))]


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
