"""Chance as a pure function of names: every drawn value is a hash of (keys of the clip, name of the value).

Adding a value therefore never changes the others, nothing depends on the order of calls, and the numbers are equal on every
machine and in every version of Python (only integer hashing and one division are used).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

__all__ = ["Draw"]

T = TypeVar("T")


class Draw:
    """A named source of chance.

    Args:
        keys: what the chance belongs to, e.g. the seed, the split and the index of a clip.
    """

    def __init__(self, *keys: object) -> None:
        self._prefix = "/".join(map(str, keys)) + "/"

    def unit(self, name: str) -> float:
        """A number in [0, 1)."""
        digest = blake2b((self._prefix + name).encode(), digest_size=8).digest()
        return (int.from_bytes(digest, "big") >> 11) / (1 << 53)

    def uniform(self, name: str, low: float, high: float) -> float:
        """A number in [low, high), rounded to 4 decimals so that it survives JSON and reads well."""
        return round(low + (high - low) * self.unit(name), 4)

    def integer(self, name: str, n: int) -> int:
        """An integer in [0, n)."""
        return int(self.unit(name) * n)

    def pick(self, name: str, options: Sequence[T]) -> T:
        """One of the options, each equally likely."""
        return options[self.integer(name, len(options))]

    def chance(self, name: str, p: float) -> bool:
        """True with probability p."""
        return self.unit(name) < p

    def weighted(self, name: str, weights: Sequence[float]) -> int:
        """An index with probability in proportion to its weight."""
        left = self.unit(name) * sum(weights)
        for i, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return i
        return len(weights) - 1

    def shuffled(self, name: str, options: Sequence[T]) -> list[T]:
        """The options in random order."""
        return [options[i] for i in sorted(range(len(options)), key=lambda i: self.unit(f"{name}#{i}"))]

    def sample(self, name: str, options: Sequence[T], n: int) -> list[T]:
        """`n` of the options without repetition, in random order."""
        return self.shuffled(name, options)[:n]
