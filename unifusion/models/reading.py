"""What the engine asks of a chat model, ours or another's: encode a clip, read a prompt, go on with tokens after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from unifusion.processor import Conversing, OpenedMedia, Row

__all__ = ["Heard", "Reader", "Reads", "left_order", "left_padded"]


@dataclass(frozen=True)
class Heard:
    """The state after some prompts were read.

    Attributes:
        logits_BV: of each row's next token.
        mask_BS: which positions that the cache holds are real.
        last_B: the number of each row's last position.
    """

    logits_BV: Tensor
    mask_BS: Tensor
    last_B: Tensor


class Reader(Protocol):
    """The contract. `config` has `placeholder_ids` (never generated) and `calibration`; `language_model.config` says how caches look."""

    config: Any
    language_model: Any
    device: Any

    def encoded(self, opened: OpenedMedia, processor: Conversing) -> OpenedMedia:
        """The clip with features in place of its encoders' input."""

    def read(self, batch: Mapping[str, Any], cache: Any) -> Heard:
        """Feed prompts after what the cache holds. Rows of an empty cache may be padded on either side; the cache has it on the left."""

    def go_on(self, ids_BN: Tensor, mask_BS: Tensor | None, positions_BN: Tensor, cache: Any, *, keep: int = 0) -> Tensor:
        """Feed text tokens (B, N) of given positions; returns logits (B, N, V), or (B, keep, V) of the last `keep` ones.

        The mask covers the cache and them; None where nothing is padded, which is 5 % faster a token (8.7 M parameters, CPU).
        """

    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Logits (B, S, V) of all positions of a batch that is padded on the right, without a cache."""


def left_order(mask_BS: Tensor) -> Tensor:
    """The order (B, S) in which padding comes first and the rest stays as it was."""
    return mask_BS.argsort(dim=1, stable=True)


def left_padded(ids_BS: Tensor, mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Return ids and mask (B, S) with the padding moved to the left.

    What is generated then follows its prompt at once in the cache; behind padding on the right, a sliding window would hold padding.
    """
    order_BS = left_order(mask_BS)
    return ids_BS.gather(1, order_BS), mask_BS.gather(1, order_BS)


class Reads:
    """The contract for our own chat model, which mixes this in."""

    @torch.no_grad()
    def encoded(self: Any, opened: OpenedMedia, processor: Any) -> OpenedMedia:
        """Replace each stream's input by its encoder's output."""
        streams = {}
        for name, item in opened.streams.items():
            if item.tokens_SD is not None:  # from a store; a batch may hold others as well
                item = replace(item, tokens_SD=item.tokens_SD.to(next(self.adapters[name].parameters())))
            else:
                row = Row(media=[replace(opened, streams={name: item})])
                batch = processor.collate([row]).to(self.device)["media"][name]
                features = self.features(name, batch)
                item = replace(item, tokens_SD=features.tokens_BSD[0], tensors={})
            streams[name] = item
        return replace(opened, streams=streams)

    @torch.no_grad()
    def read(self: Any, batch: Mapping[str, Any], cache: Any) -> Heard:
        """Feed prompts (B, S) after what the cache holds."""
        ids_BS, mask_BS = left_padded(batch["input_ids"], batch["attention_mask"])
        held = cache.get_seq_length()
        positions_BS = (mask_BS.cumsum(-1) - 1).clamp(min=0) + held
        mask_BS = torch.cat([mask_BS.new_ones(len(mask_BS), held), mask_BS], -1)
        out = self(
            inputs_embeds=self.embed(ids_BS, batch.get("media")), attention_mask=mask_BS, position_ids=positions_BS,
            past_key_values=cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        return Heard(out.logits[:, -1], mask_BS, positions_BS[:, -1])

    @torch.no_grad()
    def go_on(self: Any, ids_BN: Tensor, mask_BS: Tensor | None, positions_BN: Tensor, cache: Any, *, keep: int = 0) -> Tensor:
        """Feed text tokens (B, N); returns logits (B, N, V), or of the last `keep` ones."""
        embeds_BND = self.get_input_embeddings()(ids_BN)
        out = self(
            inputs_embeds=embeds_BND, attention_mask=mask_BS, position_ids=positions_BN, past_key_values=cache, use_cache=True,
            logits_to_keep=keep,
        )  # fmt: skip
        logits_BNV: Tensor = out.logits
        return logits_BNV

    @torch.no_grad()
    def logits(self: Any, batch: Mapping[str, Any]) -> Tensor:
        """Logits (B, S, V) of a whole batch."""
        logits_BSV: Tensor = self(input_ids=batch["input_ids"], media=batch["media"]).logits
        return logits_BSV
