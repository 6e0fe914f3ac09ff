"""Picture, words and what is known of the people: frames through time, an LSTM both ways for each stream, one over all, streams crossed.

The early fusion of faces and text for talks with profiles, of the kind that AvaMERG has (Zhang et al., "Towards Multimodal Empathetic
Response Generation", 2025). The picture comes from any video encoder; `timesformer` also from nothing (docs/fusions.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from unifusion.errors import ConfigError
from unifusion.models.fusions._attending import CrossModal, ReadOut, SelfBlock, Stack, joined, parted
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions._recurrent import Recurrent
from unifusion.models.fusions._streams import Metadata, Projection, Steps
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape

__all__ = ["VideoTextMetadata"]


class _Convolved(nn.Module):
    """Each step with its neighbours in time: a convolution over three steps, added.

    Args:
        width: D.
        dropout: on what is added.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.convolution = nn.LayerNorm(width), nn.Conv1d(width, width, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Map steps (B, S, D), the real ones (B, S) first, to (B, S, D)."""
        inside_BDS = self.norm(x_BSD).masked_fill(~mask_BS[..., None], 0.0).transpose(1, 2)
        added_BSD: Tensor = self.dropout(F.gelu(self.convolution(inside_BDS))).transpose(1, 2)
        return x_BSD + added_BSD


class VideoTextMetadata(Fusion):
    """Streams of video and text, several if need be. One that a row lacks is a learned step, so that the LSTMs are told."""

    needs = ("video", "text")
    others = False

    @dataclass(kw_only=True)
    class Config(Fusion.Config):
        """`temporal` layers over the video's steps, `n_temporal` of them, convolutions or attention; at most `steps` steps a stream."""

        width: int = 256
        n_heads: int = 8
        temporal: Literal["transformer", "conv"] = "transformer"
        n_temporal: int = 2
        steps: int = 64
        dropout: float = 0.1

    def __init__(
        self, config: Config, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> None:  # fmt: skip
        super().__init__(config, streams, metadata=metadata, outputs=outputs)
        if config.temporal not in ("transformer", "conv"):
            raise ConfigError(f"temporal {config.temporal!r};", remedy="take transformer or conv.")
        width, heads, dropout = config.width, config.n_heads, config.dropout
        ordered = dict(sorted(streams.items(), key=lambda item: self.needs.index(item[1].modality)))
        self.streams = Projection(ordered, width, most=config.steps, dropout=dropout, absent=True)
        videos = [n for n, s in ordered.items() if s.modality == "video"]

        def temporal() -> nn.Module:
            return SelfBlock(width, heads, dropout) if config.temporal == "transformer" else _Convolved(width, dropout)

        self.temporal = nn.ModuleDict({n: Stack(temporal() for _ in range(config.n_temporal)) for n in videos})
        self.lstms = nn.ModuleDict({n: Recurrent(width, width, both_ways=True, dropout=dropout) for n in ordered})
        self.looks = nn.ModuleDict({n: SelfBlock(width, heads, dropout, ff_mult=0) for n in ordered})
        self.metadata = Metadata(metadata, width)
        self.lstm = Recurrent(width, width, dropout=dropout)
        self.cross = CrossModal(list(ordered), width, heads, dropout)
        self.told = ReadOut(self.names, width, heads, dropout)

    @classmethod
    def tiny(cls) -> Config:
        """Width 16, one temporal layer, eight steps a stream."""
        return cls.Config(width=16, n_heads=2, n_temporal=1, steps=8, dropout=0.0)

    @property
    def width(self) -> int:
        """D of the outputs."""
        return int(self.config.width)

    def forward(self, inputs: Inputs, *, want_weights: bool = False) -> Fused:
        """Fuse a batch: streams of (B, S, D) to outputs (B, width); weights are the first output's over the crossed steps."""
        steps = {n: self._alone(n, s) for n, s in self.streams(inputs).items()}
        known_BFD = self.metadata(inputs, next(iter(steps.values())).tokens_BND)
        states_BSD, last_BD = self.lstm(*joined(steps, known_BFD))
        *parts, known_BFD = states_BSD.split([s.mask_BN.shape[1] for s in steps.values()] + [known_BFD.shape[1]], dim=1)
        crossed = self.cross({n: replace(s, tokens_BND=part) for (n, s), part in zip(steps.items(), parts, strict=True)})
        tokens_BSD, mask_BS = joined(crossed, known_BFD)
        seen = parted(crossed, self.told.weights(tokens_BSD, mask_BS, last_BD), inputs) if want_weights else {}
        return Fused(outputs=self.told(tokens_BSD, mask_BS, last_BD), weights=seen)

    def _alone(self, name: str, steps: Steps) -> Steps:
        """One stream by itself: video through time, then its LSTM both ways, then attention over its states."""
        tokens_BND = steps.tokens_BND
        if name in self.temporal:
            tokens_BND = self.temporal[name](tokens_BND, steps.mask_BN)
        states_BND, _ = self.lstms[name](tokens_BND, steps.mask_BN)
        looked_BND: Tensor = self.looks[name](states_BND, steps.mask_BN)
        return replace(steps, tokens_BND=looked_BND)
