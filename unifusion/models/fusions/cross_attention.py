"""Audio and video each through an encoder of their own, then attention from each to the other, and a query for each output.

The two-branch form of Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language Sequences" (2019), with whole streams
as keys, so that streams of unequal rates need no alignment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from unifusion.errors import ConfigError
from unifusion.layers import Latents
from unifusion.models.fusions._attending import CrossModal, ReadOut, SelfBlock, Stack, joined, parted
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions._streams import Metadata, Projection, Steps
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape

__all__ = ["CrossAttention"]


class CrossAttention(Fusion):
    """A branch for each stream, those of text too. A row that lacks all but one stream goes through that one's branch alone."""

    needs = ("audio", "video")

    @dataclass(kw_only=True)
    class Config(Fusion.Config):
        """`n_layers` of pre-norm attention a branch over at most `steps` steps; `positions` by seconds (sines), or learned, one a step."""

        width: int = 256
        n_heads: int = 8
        n_layers: int = 4
        steps: int = 1000
        positions: Literal["time", "learned"] = "time"
        dropout: float = 0.1

    def __init__(
        self, config: Config, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> None:  # fmt: skip
        super().__init__(config, streams, metadata=metadata, outputs=outputs)
        if config.positions not in ("time", "learned") or config.steps < 1:
            found = f"positions {config.positions!r} over {config.steps} steps;"
            raise ConfigError(found, remedy="take positions time or learned, and at least one step.")
        width, heads, dropout = config.width, config.n_heads, config.dropout
        by_time = config.positions == "time"
        self.streams = Projection(streams, width, most=config.steps, dropout=dropout, clocked=by_time)
        self.places = nn.ModuleDict({} if by_time else {n: Latents(config.steps, width) for n in streams})
        self.branches = nn.ModuleDict({n: Stack(SelfBlock(width, heads, dropout) for _ in range(config.n_layers)) for n in streams})
        self.cross = CrossModal(list(streams), width, heads, dropout)
        self.metadata = Metadata(metadata, width)
        self.told = ReadOut(self.names, width, heads, dropout)

    @classmethod
    def tiny(cls) -> Config:
        """One layer of width 16, eight steps."""
        return cls.Config(width=16, n_heads=2, n_layers=1, steps=8, dropout=0.0)

    @property
    def width(self) -> int:
        """D of the outputs."""
        return int(self.config.width)

    def forward(self, inputs: Inputs, *, want_weights: bool = False) -> Fused:
        """Fuse a batch: streams of (B, S, D) to outputs (B, width); weights are the first output's over the crossed steps."""
        steps = self.cross({n: self._branch(n, s) for n, s in self.streams(inputs).items()})
        tokens_BSD, mask_BS = joined(steps, self.metadata(inputs, next(iter(steps.values())).tokens_BND))
        seen = parted(steps, self.told.weights(tokens_BSD, mask_BS), inputs) if want_weights else {}
        return Fused(outputs=self.told(tokens_BSD, mask_BS), weights=seen)

    def _branch(self, name: str, steps: Steps) -> Steps:
        """One stream's own encoder."""
        tokens_BND = steps.tokens_BND
        if self.places:
            places: Any = self.places[name]
            tokens_BND = tokens_BND + places.weight[: tokens_BND.shape[1]]
        return replace(steps, tokens_BND=self.branches[name](tokens_BND, steps.mask_BN))
