"""Prompts that begin with the same clip: what stands up to its end is read once, whatever is asked about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from unifusion.engine.decoding import new_cache
from unifusion.models.reading import Heard
from unifusion.processor import Conversing, Row

__all__ = ["Prefixes"]

_Key = tuple[Any, ...]


@dataclass(frozen=True)
class _Kept:
    """Keys and values of one prefix, a pair of (H, P, D) a layer, the number of its last position, and what its key hangs on."""

    layers: list[tuple[Tensor, Tensor]]
    last: int
    media: Any
    """Held so that no other clip gets the identity of one that is part of a key."""

    @property
    def length(self) -> int:
        """Positions."""
        return int(self.layers[0][0].shape[1])


class Prefixes:
    """Keys and values of what prompts have up to the end of their last clip. Answers are those of prompts that are read whole (fp32).

    Where a model keeps anything but keys and values of all positions (a sliding window, a recurrent state), or counts positions in three
    dimensions, prompts are read whole.

    Args:
        model: the chat model.
        processor: the one that fits it.
    """

    def __init__(self, model: Any, processor: Conversing) -> None:
        self.model, self.processor = model, processor
        self._kept: dict[_Key, _Kept] = {}
        self._plain = True

    def forget(self) -> None:
        """Let all go."""
        self._kept.clear()

    @torch.no_grad()
    def read(self, rows: Sequence[Row], cache: DynamicCache) -> Heard:
        """Feed prompts into an empty cache, left padded, as `model.read` does."""
        ends = [self._end(row) for row in rows]
        if any(ends) and self._plain:
            self._read_new([row for row, end in zip(rows, ends, strict=True) if end], [end for end in ends if end])
        if not any(ends) or not self._plain:
            heard: Heard = self.model.read(self.processor.collate(rows, side="left").to(self.model.device), cache)
            return heard
        kept = [self._kept[_key(row, end)] if end else None for row, end in zip(rows, ends, strict=True)]
        mask_NP = self._fill(cache, kept)
        return self._go_on(rows, ends, kept, mask_NP, cache)

    def _end(self, row: Row) -> int:
        """Position after the last token of a clip; 0 of none."""
        held = set(self.model.config.placeholder_ids.values())
        return next((i for i in range(len(row.ids), 0, -1) if row.ids[i - 1] in held), 0) if row.media else 0

    def _read_new(self, rows: Sequence[Row], ends: Sequence[int]) -> None:
        """Read and keep the prefixes that are not there yet."""
        new = {_key(row, end): (row, end) for row, end in zip(rows, ends, strict=True) if _key(row, end) not in self._kept}
        if not new:
            return
        cut = [replace(row, ids=row.ids[:end], labels=row.labels[:end], fitted=None) for row, end in new.values()]
        batch = self.processor.collate(cut, side="left").to(self.model.device)
        cache = new_cache(self.model)
        if "position_ids" in batch or not all(type(layer) is DynamicLayer for layer in cache.layers):
            self._plain = False
            return
        heard = self.model.read(batch, cache)
        if not all(type(layer) is DynamicLayer for layer in cache.layers):  # a cache of no config makes its layers as it is filled
            self._plain = False
            return
        for n, (key, (row, end)) in enumerate(new.items()):
            layers = [(layer.keys[n, :, -end:].clone(), layer.values[n, :, -end:].clone()) for layer in cache.layers]
            self._kept[key] = _Kept(layers, int(heard.last_B[n]), row.media)

    def _fill(self, cache: DynamicCache, kept: Sequence[_Kept | None]) -> Tensor:
        """Put prefixes into an empty cache, left padded; returns which positions are real (N, P)."""
        some = next(k for k in kept if k is not None)
        longest = max(k.length for k in kept if k is not None)
        mask_NP = torch.zeros(len(kept), longest, dtype=torch.long, device=some.layers[0][0].device)
        for n, one in enumerate(kept):
            if one is not None:
                mask_NP[n, longest - one.length :] = 1
        for number, (key_HPD, value_HPD) in enumerate(some.layers):
            filled = [like.new_zeros(len(kept), like.shape[0], longest, like.shape[2]) for like in (key_HPD, value_HPD)]
            for n, one in enumerate(kept):
                if one is not None:
                    for whole, part in zip(filled, one.layers[number], strict=True):
                        whole[n, :, longest - one.length :] = part
            cache.update(filled[0], filled[1], number)
        return mask_NP

    def _go_on(self, rows: Sequence[Row], ends: Sequence[int], kept: Sequence[_Kept | None], mask_NP: Tensor, cache: DynamicCache) -> Heard:
        """Feed what stands after the prefixes, left padded."""
        rest = [row.ids[end:] for row, end in zip(rows, ends, strict=True)]
        longest, pad = max(map(len, rest)), self.processor.tokenizer.pad_token_id
        device = mask_NP.device
        ids_NL = torch.tensor([[*[pad] * (longest - len(ids)), *ids] for ids in rest], device=device)
        real_NL = torch.tensor([[int(i >= longest - len(ids)) for i in range(longest)] for ids in rest], device=device)
        last_N = torch.tensor([-1 if one is None else one.last for one in kept], device=device)
        positions_NL = (last_N[:, None] + real_NL.cumsum(-1)).clamp(min=0)
        mask_NS = torch.cat([mask_NP, real_NL], -1)
        logits_NLV = self.model.go_on(ids_NL, mask_NS, positions_NL, cache, keep=1)
        return Heard(logits_NLV[:, -1], mask_NS, positions_NL[:, -1])


def _key(row: Row, end: int) -> _Key:
    """What a prefix hangs on: its tokens, and the features of its clips."""
    held = []
    for clip in row.media:
        for name, item in clip.streams.items():
            held.append((name, id(item) if item.tokens_SD is None else item.tokens_SD.data_ptr()))
    return (tuple(row.ids[:end]), tuple(held))
