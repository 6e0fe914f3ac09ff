"""Append-only shards of one stream's features in a folder, memory-mapped in bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from unifusion.errors import DatasetError
from unifusion.features.shard import Item, Shard, as_item, sweep, write_shard

__all__ = ["FeatureStore"]

_SHARD_ITEMS = 512
_SHARD_BYTES = 256 * 1024**2
"""A shard is full at either: 512 items of 30 s of sound would be 0.8 GB in memory."""


class FeatureStore:
    """Features by key. Several processes may read and write one folder; what a killed one had flushed is there.

    Args:
        folder: made with the first shard.

    An item is (S, D) bf16 with times (S,) and mask (S,), and a small JSON record.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.bytes_written = 0
        self._where: dict[str, tuple[Shard, int]] = {}
        self._known: set[str] = set()
        self._pending: dict[str, Item] = {}
        self._pending_bytes = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in the shards that others have finished since."""
        if not self.folder.is_dir():
            return
        new = {p for p in self.folder.iterdir() if p.suffix in (".safetensors", ".json") and p.name[0] != "." and p.name not in self._known}
        for path in sorted(new):
            self._adopt(path)

    def _adopt(self, path: Path) -> None:
        """Take a finished shard into the index; a key that is there already keeps its place."""
        shard = Shard(path)
        self._known.add(path.name)
        for number, key in enumerate(shard.keys):
            self._where.setdefault(key, (shard, number))

    def __len__(self) -> int:
        """Items that can be read."""
        return len(self._where) + len(self._pending)

    def __contains__(self, key: str) -> bool:
        """Whether `key` is stored."""
        return key in self._where or key in self._pending

    def put(
        self, key: str, tokens_SD: torch.Tensor, record: dict[str, Any],
        times_S: torch.Tensor | None = None, mask_S: torch.Tensor | None = None,
    ) -> None:  # fmt: skip
        """Add one item; a full shard is written out. `record` is JSON: what the report says."""
        if key in self:
            return
        self._pending[key] = as_item(tokens_SD, times_S, mask_S, record)
        self._pending_bytes += self._pending[key].n_bytes
        if len(self._pending) >= _SHARD_ITEMS or self._pending_bytes >= _SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as a shard; afterwards a kill cannot lose it."""
        if not self._pending:
            return
        name, n_bytes = write_shard(self.folder, self._pending)
        self.bytes_written += n_bytes
        self._pending, self._pending_bytes = {}, 0
        self._adopt(self.folder / f"{name}.safetensors")

    def sweep(self) -> int:
        """Remove what killed writers left; return how many files. Safe while others write."""
        return sweep(self.folder) if self.folder.is_dir() else 0

    def get(self, key: str) -> Item:
        """Return an item, its numbers copied from the mapped file.

        Raises:
            DatasetError: the key is not stored.
        """
        if key in self._pending:
            return self._pending[key]
        if key not in self._where:
            raise DatasetError(f"no features {key[:12]}.. in {self.folder};", remedy="encode the data first with `unifusion encode`.")
        shard, number = self._where[key]
        return shard.item(number)
