"""What intervals draw and tests swap: groups as wholes, or examples where groups are too few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unifusion.errors import ConfigError
from unifusion.metrics._resampling import group_draws, nested_draws, swap_draws

__all__ = ["FEW_GROUPS", "TAILS", "Draws", "Units", "units_of"]

TAILS = (0.025, 0.975)
"""Quantiles at the ends of an interval: 95 %."""
FEW_GROUPS = 10
"""With fewer groups than this, examples are drawn within a drawn group too, and swapped one by one in a test: with n groups swapped as
wholes p is never below 2 ** (1 - n). It then says how much a figure depends on the examples, and little of other speakers."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How resamples are made.

    Attributes:
        resamples: of each interval and test.
        seed: of the draws.

    Raises:
        ConfigError: no resamples.
    """

    resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ConfigError(f"{self.resamples} resamples;", remedy="give at least one.")


@dataclass(frozen=True, kw_only=True)
class Units:
    """What is drawn, and swapped.

    Attributes:
        unit_N: number of each example's unit.
        group_U: number of the group of each unit.
        groups: how many there are.
        nested: whether groups are too few to be drawn as wholes alone, so that the units are examples.
    """

    unit_N: np.ndarray
    group_U: np.ndarray
    groups: int
    nested: bool

    def __len__(self) -> int:
        return len(self.group_U)

    @property
    def drawn(self) -> str:
        """What the intervals are over, in words."""
        return "groups, and examples within each" if self.nested else "groups"

    @property
    def swapped(self) -> str:
        """What a permutation test swaps."""
        return "examples" if self.nested else "groups"

    def weights(self, draws: Draws) -> Iterator[np.ndarray]:
        """How often each unit counts in each resample, (r, U) in blocks."""
        if self.nested:
            return nested_draws(self.group_U, draws.resamples, draws.seed)
        return group_draws(self.groups, draws.resamples, draws.seed)

    def swaps(self, draws: Draws) -> Iterator[np.ndarray]:
        """Which units are swapped in each resample, (r, U) of 0 and 1 in blocks."""
        return swap_draws(len(self), draws.resamples, draws.seed)


def units_of(groups: Sequence[str]) -> Units:
    """Units of examples by their groups."""
    number: dict[str, int] = {}
    group_N = np.array([number.setdefault(g, len(number)) for g in groups], dtype=int)
    if len(number) < min(FEW_GROUPS, len(groups)):
        return Units(unit_N=np.arange(len(groups)), group_U=group_N, groups=len(number), nested=True)
    return Units(unit_N=group_N, group_U=np.arange(len(number)), groups=len(number), nested=False)
