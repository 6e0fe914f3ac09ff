"""The pass through an existing model: what the engine asks of a chat model (`models.reading`), over a network of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from unifusion.errors import ConfigError
from unifusion.models.existing.family import Family
from unifusion.models.reading import Heard, left_order
from unifusion.processor import OpenedMedia

__all__ = ["ExistingChat", "ExistingConfig"]


@dataclass(kw_only=True)
class ExistingConfig:
    """What the engine reads of a config.

    Attributes:
        placeholder_ids: kind -> id; none of them is generated.
        calibration: none: the folder of another's model holds no temperatures of ours.
    """

    placeholder_ids: dict[str, int]
    calibration: dict[str, dict[str, Any]] = field(default_factory=dict)


class ExistingChat(nn.Module):
    """An existing multimodal model behind the contract `models.reading.Reader`.

    Each clip is encoded by itself, when it is opened, so an answer does not depend on its neighbours in a batch and no later question
    encodes it again. The language model gets embeddings and positions that the processor counted, so turns go on after a cache.

    Args:
        network: of transformers, answering in text.
        family: the model's.
    """

    def __init__(self, network: Any, family: Family) -> None:
        super().__init__()
        self.network = network
        self.family = family
        self.config = ExistingConfig(placeholder_ids=family.placeholders)

    @property
    def language_model(self) -> Any:
        """The decoder, without its head."""
        return self.network.get_decoder()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.network.device)

    @torch.no_grad()
    def encoded(self, opened: OpenedMedia, processor: Any = None) -> OpenedMedia:
        """Replace each stream's pixels or mels by the features of the network's own towers.

        Raises:
            ConfigError: the towers give another number of tokens than the processor counted.
        """
        streams = {}
        for name, item in opened.streams.items():
            if item.tokens_SD is None:
                item = self.family.encoded(self.network, name, item, still=opened.media.kind == "image")
                found, wanted = len(item.tokens_SD if item.tokens_SD is not None else ()), len(item.token_times_Q)
                if found != wanted:
                    raise ConfigError(
                        f"{opened.media.name}: the model gave {found} tokens of {name}, its processor's settings say {wanted};",
                        remedy="use a checkpoint whose processor and config fit each other.",
                    )
            streams[name] = item
        return replace(opened, streams=streams)

    def embed(self, ids_BS: Tensor, media: Mapping[str, Mapping[str, Tensor]]) -> tuple[Tensor, dict[str, Any]]:
        """Embeddings (B, S, D) with the clips' features in place, and what else goes into the language model."""
        embeds_BSD = self.network.get_input_embeddings()(ids_BS)
        seen_BS, deep = torch.zeros_like(ids_BS, dtype=torch.bool), None
        for kind, found in media.items():
            where_BS = ids_BS == self.config.placeholder_ids[kind]
            tokens = found["tokens"].to(embeds_BSD)
            if int(where_BS.sum()) != len(tokens):
                raise ConfigError(
                    f"{len(tokens)} tokens of kind {kind!r} for {int(where_BS.sum())} placeholders;",
                    remedy="make ids and media by the same processor, and do not cut ids afterwards.",
                )
            embeds_BSD = embeds_BSD.masked_scatter(where_BS[..., None], tokens)
            if "deep" in found:
                layers = found["deep"].to(embeds_BSD)
                deep = embeds_BSD.new_zeros(*ids_BS.shape, *layers.shape[1:]) if deep is None else deep
                deep[where_BS] = layers
                seen_BS |= where_BS
        if deep is None:
            return embeds_BSD, {}
        return embeds_BSD, {"visual_pos_masks": seen_BS, "deepstack_visual_embeds": list(deep[seen_BS].unbind(1))}

    def _pass(self, embeds_BSD: Tensor, positions: Tensor, mask_BS: Tensor | None, cache: Any, extra: Mapping[str, Any]) -> Tensor:
        """Last hidden states (B, S, D)."""
        if self.family.tripled and positions.dim() == 2:
            positions = positions.expand(3, -1, -1)
        out = self.language_model(
            inputs_embeds=embeds_BSD, position_ids=positions, attention_mask=mask_BS, past_key_values=cache, use_cache=cache is not None,
            **extra,
        )  # fmt: skip
        hidden_BSD: Tensor = out.last_hidden_state
        return hidden_BSD

    @torch.no_grad()
    def read(self, batch: Mapping[str, Any], cache: Any) -> Heard:
        """Feed prompts (B, S) after what the cache holds."""
        ids_BS, mask_BS, held = batch["input_ids"], batch["attention_mask"], cache.get_seq_length()
        order_BS = left_order(mask_BS)
        ids_BS, mask_BS = ids_BS.gather(1, order_BS), mask_BS.gather(1, order_BS)
        if "position_ids" in batch:
            positions = batch["position_ids"].gather(2, order_BS.expand(3, -1, -1))
        else:
            positions = (mask_BS.cumsum(-1) - 1).clamp(min=0) + held
        mask_BS = torch.cat([mask_BS.new_ones(len(mask_BS), held), mask_BS], -1)
        embeds_BSD, extra = self.embed(ids_BS, batch["media"])
        hidden_BSD = self._pass(embeds_BSD, positions, mask_BS, cache, extra)
        last_B = (positions[0] if positions.dim() == 3 else positions)[:, -1]
        return Heard(self.network.get_output_embeddings()(hidden_BSD[:, -1]), mask_BS, last_B)

    @torch.no_grad()
    def go_on(self, ids_BN: Tensor, mask_BS: Tensor | None, positions_BN: Tensor, cache: Any, *, keep: int = 0) -> Tensor:
        """Feed text tokens (B, N); returns logits (B, N, V), or of the last `keep` ones."""
        hidden_BND = self._pass(self.network.get_input_embeddings()(ids_BN), positions_BN, mask_BS, cache, {})
        logits_BNV: Tensor = self.network.get_output_embeddings()(hidden_BND[:, -keep:])
        return logits_BNV

    @torch.no_grad()
    def logits(self, batch: Mapping[str, Any]) -> Tensor:
        """Logits (B, S, V) of a whole batch, padded on the right."""
        ids_BS = batch["input_ids"]
        embeds_BSD, extra = self.embed(ids_BS, batch["media"])
        counted_BS = torch.arange(ids_BS.shape[1], device=ids_BS.device).expand_as(ids_BS)
        hidden_BSD = self._pass(embeds_BSD, batch.get("position_ids", counted_BS), None, None, extra)
        logits_BSV: Tensor = self.network.get_output_embeddings()(hidden_BSD)
        return logits_BSV
