"""Which back end fits so many vectors, and why, in a sentence."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from unifusion.errors import ConfigError

__all__ = ["Choice", "choose"]

QUICK_BYTES = 64 * 1024**2
"""Of float32 vectors: reading so many takes 3 ms (21 GB/s, one thread), where a coarse index no longer saves anything that is felt."""
SCANNED = 4_000_000 * 512
"""Numbers that `faiss_pq` scans in about 35 ms on one thread (8.6 ms for a million at 512); beyond, lists are worth what they miss."""
SHARE = 0.5
"""Of the memory that an index may take."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A back end.

    Attributes:
        name: public name, as `unifusion list backends` has it.
        config: choices that differ from its own.
        reason: one sentence for the person who waits.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)
    reason: str


def choose(
    count: int, width: int, *, exact: bool = False, memory_bytes: int | None = None, available: Sequence[str] | None = None
) -> Choice:  # fmt: skip
    """Choose a local back end by size; thresholds are those that were measured (docs/benchmarks.md).

    Args:
        count: vectors that are expected.
        width: D.
        exact: no true neighbour may be missed.
        memory_bytes: of the machine; None asks the system.
        available: libraries that may be used ("faiss"); None looks which are installed.

    Raises:
        ConfigError: numbers below 0, or no memory for the coarsest index.
    """
    if count < 0 or width < 1:
        raise ConfigError(f"{count} vectors of width {width};", remedy="give 0 or more vectors of width 1 or more.")
    memory = _memory() if memory_bytes is None else memory_bytes
    has_faiss = "faiss" in available if available is not None else importlib.util.find_spec("faiss") is not None
    size, numbers = 4 * count * width, count * width
    what = f"{count:,} vectors of width {width} are {_told(size)}"
    if size > SHARE * memory and size > QUICK_BYTES:
        stay, config = f", which stay in their file, since the machine has {_told(memory)} of memory", {"mapped": True}
    else:
        stay, config = "", {}
    if size <= QUICK_BYTES:
        return Choice(name="exact", config=config, reason=f"exact: {what}, compared one by one in {_ms(size)} a query.")
    if exact:
        return Choice(name="exact", config=config, reason=f"exact: no neighbour may be missed; {what}{stay}, read in {_ms(size)} a query.")
    if not has_faiss:
        reason = f"exact: {what}{stay}, read in {_ms(size)} a query; pip install 'unifusion-x[retrieval]' for a quicker search."
        return Choice(name="exact", config=config, reason=reason)
    for name, bytes_each, most, why in (
        ("faiss_pq", width / 4, SCANNED, "2 bits a number are scanned and the best compared exactly"),
        ("faiss_ivf", width + 8, None, "lists around centroids are looked into and the best compared exactly"),
        ("faiss_binary", width / 8, None, "signs are scanned and the best compared exactly, which misses more"),
    ):
        if (most is None or numbers <= most) and count * bytes_each <= SHARE * memory:
            return Choice(name=name, config=config, reason=f"{name}: {what}{stay}; {why} ({_told(count * bytes_each)} of codes).")
    raise ConfigError(
        f"{what}, and {_told(memory)} of memory do not hold their signs;", remedy="use a server: the back end qdrant (docs/backends.md)."
    )


def _memory() -> int:
    """Bytes of memory this machine has: what is free changes by the minute, and a choice should not."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _told(size: float) -> str:
    """Bytes for people."""
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"


def _ms(size: int) -> str:
    """How long one thread takes to read so many bytes."""
    return f"about {max(1, round(size / 20e6))} ms"
