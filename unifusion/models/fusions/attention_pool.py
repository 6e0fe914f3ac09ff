"""Each stream averaged over time, weighed against the others, then a small MLP; with one stream, the plain baseline of it.

Follows the attention-based pre-fusion of Lian et al., "AffectGPT" (2025): weights from a linear layer over all averages together, softmax
over the streams that are there. The adapter of the same name gives a language model a token made this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.layers import MLP
from unifusion.models.fusions._attending import parted
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions._streams import Metadata, Projection
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape

__all__ = ["AttentionPool"]


class AttentionPool(Fusion):
    """The weighted sum of the streams' averages; what is known of a row is one more stream. All outputs share one vector.

    Time is not seen: what comes first and what last is the same to it.
    """

    @dataclass(kw_only=True)
    class Config(Fusion.Config):
        """`width` of the common space and of the outputs; `dropout` on the averages and in the MLP."""

        width: int = 256
        dropout: float = 0.1

    def __init__(
        self, config: Config, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> None:  # fmt: skip
        super().__init__(config, streams, metadata=metadata, outputs=outputs)
        width, members = config.width, len(streams) + (metadata is not None)
        # One step a stream is its average over all its tokens.
        self.streams = Projection(streams, width, most=1, dropout=config.dropout, clocked=False)
        self.metadata = Metadata(metadata, width)
        self.weigh = nn.Linear(width * members, members)
        self.think = nn.Sequential(nn.LayerNorm(width), MLP(width, 2 * width, width), nn.Dropout(config.dropout))
        self.norm = nn.LayerNorm(width)

    @classmethod
    def tiny(cls) -> Config:
        """A common space of 16."""
        return cls.Config(width=16, dropout=0.0)

    @property
    def width(self) -> int:
        """D of the outputs."""
        return int(self.config.width)

    def forward(self, inputs: Inputs, *, want_weights: bool = False) -> Fused:
        """Fuse a batch: streams of (B, S, D) to one vector (B, width); weights of streams are spread evenly over their tokens."""
        steps = self.streams(inputs)
        means, there = [s.tokens_BND[:, 0] for s in steps.values()], [s.mask_BN[:, 0] for s in steps.values()]
        known_BFD = self.metadata(inputs, means[0])
        if known_BFD.shape[1]:
            means.append(known_BFD.mean(dim=1))
            there.append(torch.ones_like(there[0]))
        there_BK = torch.stack(there, dim=1)
        means_BKD = torch.stack(means, dim=1) * there_BK[..., None]
        weights_BK = self._weights(means_BKD, there_BK)
        sum_BD = (weights_BK[..., None].to(means_BKD.dtype) * means_BKD).sum(dim=1)
        told_BD = self.norm(sum_BD + self.think(sum_BD))
        seen = parted(steps, weights_BK[:, : len(steps)], inputs) if want_weights else {}
        return Fused(outputs={n: told_BD for n in self.names}, weights=seen)

    def _weights(self, means_BKD: Tensor, there_BK: Tensor) -> Tensor:
        """Weights (B, K) that sum to 1 over those that are there; equal ones, of averages that are zero, where none is."""
        scores_BK = self.weigh(means_BKD.flatten(1)).float().masked_fill(~there_BK, torch.finfo(torch.float32).min)
        weights_BK: Tensor = scores_BK.softmax(dim=-1)
        return weights_BK
