"""The contract of a back end: unit-norm vectors by whole number, searched by inner product, with filters on metadata."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

__all__ = ["Backend", "Matches", "Row", "Where"]

Row = Mapping[str, Any]
"""Metadata of one vector: strings, numbers, booleans; what is unknown is left out."""
Where = Mapping[str, Any]
"""A filter, as MongoDB and Chroma spell it: {"label": "dog"}, {"start_s": {"$gte": 3}}, {"$and": [.., ..]}, {"$or": [.., ..]}; operators
$eq $ne $gt $gte $lt $lte $in $nin. A row that lacks a field matches none of them but $ne and $nin."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What B queries found, the best first; equal scores by ascending id.

    Attributes:
        scores_BK: float32 inner products; -inf where fewer than K rows match.
        ids_BK: int64; -1 where fewer match.
    """

    scores_BK: np.ndarray
    ids_BK: np.ndarray


class Backend(ABC):
    """Vectors (N, D) float32 of length one, each with an id (int64, 0 or more) and metadata.

    Args:
        width: D.
        config: this back end's own choices.
    """

    @dataclass(kw_only=True)
    class Config:
        """Choices of the back end; subclasses add fields. Plain numbers and strings, written to config.json."""

    exact: bool = True
    """Whether a search finds the true nearest rows; where the choices decide that, an object says it for itself."""
    remote: bool = False
    """Whether the vectors live in a server, so that a saved folder does not hold them; an object may say it for itself."""

    def __init__(self, width: int, config: Any) -> None:
        self.width, self.config = width, config

    @abstractmethod
    def __len__(self) -> int:
        """Vectors."""

    @abstractmethod
    def add(self, ids_N: np.ndarray, vectors_ND: np.ndarray, rows: Sequence[Row]) -> None:
        """Add vectors; one whose id is there already takes its place.

        Raises:
            ConfigError: shapes that do not fit, an id given twice or below 0, or a vector that is not finite or not of length one.
        """

    @abstractmethod
    def delete(self, ids_N: np.ndarray) -> int:
        """Remove vectors and return how many were there."""

    @abstractmethod
    def search(self, queries_BD: np.ndarray, k: int, where: Where | None = None) -> Matches:
        """Find the k best rows for each query among those that match the filter.

        Raises:
            ConfigError: k below 1, queries of another width, or a filter that cannot be read.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything into an empty folder that exists; no pickle."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, width: int, config: Any) -> Self:
        """Read what `save` wrote.

        Raises:
            CheckpointError: files that are missing, cut short, or of another width; nothing of them is executed.
        """
