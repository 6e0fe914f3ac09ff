"""Several conversations in one sequence without padding: which go together, and the batch in which none of them sees another.

nanoVLM's packer joins ids under one plain causal mask, so that every example also reads those before it; here each one's loss and gradient
are what it has alone (tests/models/test_segments.py). Whose attention keeps them apart is decided in `models/segments.py`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from unifusion.errors import ConfigError, LimitError
from unifusion.processor.processor import IGNORED, Batch, Row, UniFusionProcessor

__all__ = ["Segments", "collate_packed", "pack"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """Where conversations lie in one flat sequence of T tokens, one behind the other.

    Attributes:
        lengths: tokens of each, at least 1; the sum is T.
    """

    lengths: tuple[int, ...]

    @cached_property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """(count, length) of neighbours of equal length, in order: they are attended to in one go."""
        return tuple((len(list(same)), length) for length, same in groupby(self.lengths))

    @cached_property
    def edges(self) -> Tensor:
        """Where each begins, and T: int32, as varlen kernels of flash-attention take it (`cu_seqlens`)."""
        return torch.tensor([0, *self.lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)


def pack(lengths: Sequence[int], limit: int, names: Sequence[str] = ()) -> list[list[int]]:
    """Sort examples into packs of at most `limit` tokens, best-fit decreasing: the longest first, each where least room is left over.

    At most 11/9 of the fewest packs possible and one more (Johnson et al., "Worst-case performance bounds for simple one-dimensional
    packing algorithms", 1974). A pure function of its arguments; equal lengths keep their order.

    Args:
        lengths: tokens of each example.
        limit: most tokens of a pack.
        names: what errors call the examples; their numbers without.

    Returns:
        numbers of the examples of each pack, longest first; every example is in exactly one.

    Raises:
        LimitError: an example is longer than `limit`; names the longest and how many there are.
        ConfigError: an example has no token.
    """
    _check(lengths, limit, names)
    packs: list[list[int]] = []
    open_at: dict[int, list[int]] = {}  # room left -> packs that have it
    rooms: list[int] = []  # its keys, ascending
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = bisect_left(rooms, lengths[number])
        if at == len(rooms):
            packs.append([])
            chosen, room = len(packs) - 1, limit
        else:
            room = rooms[at]
            chosen = open_at[room].pop()
            if not open_at[room]:
                del open_at[room]
                del rooms[at]
        packs[chosen].append(number)
        left = room - lengths[number]
        if left not in open_at:
            open_at[left] = []
            insort(rooms, left)
        open_at[left].append(chosen)
    return packs


def _check(lengths: Sequence[int], limit: int, names: Sequence[str]) -> None:
    """Refuse what fits into no pack."""
    called = names or [f"number {i}" for i in range(len(lengths))]
    longer = [i for i, n in enumerate(lengths) if n > limit]
    if longer:
        worst = max(longer, key=lambda i: lengths[i])
        more = f" ({len(longer)} examples are longer)" if len(longer) > 1 else ""
        raise LimitError(
            f"example {called[worst]} has {lengths[worst]} tokens, a pack holds {limit}{more};",
            remedy="raise the limit, or shorten examples by processor.fit.",
        )
    empty = next((i for i, n in enumerate(lengths) if n < 1), None)
    if empty is not None:
        raise ConfigError(f"example {called[empty]} has {lengths[empty]} tokens;", remedy="leave empty examples out.")


def collate_packed(processor: UniFusionProcessor, rows: Sequence[Row]) -> Batch:
    """One sequence (1, T) of all rows in their order: no padding, positions from 0 in each, media in order, `segments`.

    A row's first token is not supervised, since the last token of the row before it would be what predicts it. There is no
    attention mask: `model(**batch)` keeps rows apart, or refuses where its language model cannot. Rows as `pack` orders them are fastest.

    Raises:
        ConfigError: there is no row, or one without a token.
    """
    lengths = tuple(len(r.ids) for r in rows)
    if not lengths or min(lengths) < 1:
        raise ConfigError(f"rows of {list(lengths)} tokens cannot be packed;", remedy="give at least one row, and none that is empty.")
    labels = [label for r in rows for label in (IGNORED, *r.labels[1:])]
    together = Row(ids=[i for r in rows for i in r.ids], labels=labels, media=[clip for r in rows for clip in r.media])
    data = {
        "input_ids": torch.tensor([together.ids]),
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None],
        "segments": Segments(lengths=lengths),
        "media": processor.media([together]),
    }
    if any(label != IGNORED for label in labels):
        data["labels"] = torch.tensor([labels])
    batch = Batch(data)
    batch.reports = [r.report for r in rows]
    return batch
