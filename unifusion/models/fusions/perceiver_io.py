"""Perceiver IO over all tokens of all streams: latents read them once, think, and are asked for each output.

Follows Jaegle et al., "Perceiver IO: A General Architecture for Structured Inputs & Outputs" (2021). Made of this package's latent blocks,
whose masks hold for a row without any token too; those of transformers' `PerceiverModel` would let it look at padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unifusion.layers import LatentBlock, Latents
from unifusion.models.fusions._attending import ReadOut, SelfBlock, Stack, attention_weights, joined, parted
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions._streams import Metadata, Projection
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape

__all__ = ["PerceiverIO"]


class PerceiverIO(Fusion):
    """Cost grows with the tokens, not with their square, so that every token is read as it is, with its stream's vector and its second."""

    @dataclass(kw_only=True)
    class Config(Fusion.Config):
        """`n_latents` of `width` read all streams `n_reads` times and think `n_layers` times; `steps` a stream at most, 0: all tokens."""

        width: int = 256
        n_latents: int = 64
        n_reads: int = 1
        n_layers: int = 4
        n_heads: int = 8
        steps: int = 0
        dropout: float = 0.1

    def __init__(
        self, config: Config, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> None:  # fmt: skip
        super().__init__(config, streams, metadata=metadata, outputs=outputs)
        width, heads = config.width, config.n_heads
        self.streams = Projection(streams, width, most=config.steps, dropout=config.dropout)
        self.metadata = Metadata(metadata, width)
        self.norm = nn.LayerNorm(width)
        self.latents = Latents(config.n_latents, width)
        self.reads = nn.ModuleList(
            LatentBlock(width, width, heads, head_width=None, style="cross", ff_mult=4) for _ in range(config.n_reads)
        )
        self.blocks = Stack(SelfBlock(width, heads, config.dropout) for _ in range(config.n_layers))
        self.told = ReadOut(self.names, width, heads, config.dropout)

    @classmethod
    def tiny(cls) -> Config:
        """Four latents of width 16, one layer."""
        return cls.Config(width=16, n_latents=4, n_layers=1, n_heads=2, dropout=0.0)

    @property
    def width(self) -> int:
        """D of the outputs."""
        return int(self.config.width)

    def forward(self, inputs: Inputs, *, want_weights: bool = False) -> Fused:
        """Fuse a batch: streams of (B, S, D) to a vector (B, width) for each output.

        Weights are those of the first output over the latents, times those of the latents over the tokens (the mean over reads).
        """
        steps = self.streams(inputs)
        first = next(iter(steps.values())).tokens_BND
        context_BSD, mask_BS = joined(steps, self.metadata(inputs, first))
        context_BSD = self.norm(context_BSD)
        latents_BQD, looks = self.latents(len(mask_BS)), []
        for read in self.reads:
            block: Any = read
            if want_weights:
                looks.append(attention_weights(block.cross, block.norm_cross(latents_BQD), context_BSD, mask_BS))
            latents_BQD = block(latents_BQD, context_BSD, mask_BS)
        every_BQ = mask_BS.new_ones(latents_BQD.shape[:2])
        latents_BQD = self.blocks(latents_BQD, every_BQ)
        seen: dict[str, Tensor] = {}
        if want_weights:
            asked_BQ = self.told.weights(latents_BQD, every_BQ)
            over_BS = (asked_BQ[:, None] @ torch.stack(looks).mean(dim=0))[:, 0]
            seen = parted(steps, over_BS, inputs)
        return Fused(outputs=self.told(latents_BQD, every_BQ), weights=seen)
