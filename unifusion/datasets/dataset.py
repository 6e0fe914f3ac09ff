"""The contract of a dataset: `__len__` and `__getitem__ -> Example`, nothing decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from unifusion.conversation import Example

__all__ = ["Dataset"]


class Dataset(ABC):
    """A sequence of Examples read from annotations as they were published.

    The docstring of a reader states source, licence, layout on disk and one raw row. Construction reads annotations
    only; media are opened by the processor. A missing file or key raises `DatasetError` naming file, line and remedy.
    """

    reads_files: ClassVar[bool] = True
    """Whether its path says where files are; otherwise the rows are made."""
    gives_way: ClassVar[tuple[str, ...]] = ()
    """Readers of special cases of this one's layout, which are meant where they find as many rows in a folder."""

    missing: int = 0
    """Rows, or clips of rows, that were not downloaded."""

    @abstractmethod
    def __len__(self) -> int:
        """Rows."""

    @abstractmethod
    def __getitem__(self, index: int) -> Example:
        """The example at `index` (0 <= index < len); the same index always gives an equal example."""

    def __iter__(self) -> Iterator[Example]:
        """All examples in order."""
        return (self[i] for i in range(len(self)))
