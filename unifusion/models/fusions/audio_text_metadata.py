"""Sound, words and what is known of the people in one sequence: an LSTM reads it, eight heads of attention look back over it.

The early fusion of sound and text for talks with profiles, of the kind that AvaMERG has (Zhang et al., "Towards Multimodal Empathetic
Response Generation", 2025). A second stream of text, such as what was said before, stands in the sequence behind the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unifusion.models.fusions._attending import ReadOut, SelfBlock, joined, parted
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions._recurrent import Recurrent
from unifusion.models.fusions._streams import Metadata, Projection
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape

__all__ = ["AudioTextMetadata"]


class AudioTextMetadata(Fusion):
    """Steps of sound, then of words, then metadata. A stream that a row lacks is one learned step, so that the LSTM is told."""

    needs = ("audio", "text")
    others = False

    @dataclass(kw_only=True)
    class Config(Fusion.Config):
        """`width` of the LSTM's states and of the outputs; at most `steps` steps a stream."""

        width: int = 256
        n_heads: int = 8
        n_layers: int = 1
        steps: int = 64
        dropout: float = 0.1

    def __init__(
        self, config: Config, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> None:  # fmt: skip
        super().__init__(config, streams, metadata=metadata, outputs=outputs)
        width, dropout = config.width, config.dropout
        ordered = dict(sorted(streams.items(), key=lambda item: self.needs.index(item[1].modality)))
        self.streams = Projection(ordered, width, most=config.steps, dropout=dropout, absent=True)
        self.metadata = Metadata(metadata, width)
        self.lstm = Recurrent(width, width, layers=config.n_layers, dropout=dropout)
        self.look = SelfBlock(width, config.n_heads, dropout, ff_mult=0)
        self.told = ReadOut(self.names, width, config.n_heads, dropout)

    @classmethod
    def tiny(cls) -> Config:
        """One LSTM of width 16 over eight steps a stream."""
        return cls.Config(width=16, n_heads=2, steps=8, dropout=0.0)

    @property
    def width(self) -> int:
        """D of the outputs."""
        return int(self.config.width)

    def forward(self, inputs: Inputs, *, want_weights: bool = False) -> Fused:
        """Fuse a batch: streams of (B, S, D) to outputs (B, width); weights are the first output's over the LSTM's states."""
        steps = self.streams(inputs)
        tokens_BSD, mask_BS = joined(steps, self.metadata(inputs, next(iter(steps.values())).tokens_BND))
        states_BSD, last_BD = self.lstm(tokens_BSD, mask_BS)
        states_BSD = self.look(states_BSD, mask_BS)
        seen = parted(steps, self.told.weights(states_BSD, mask_BS, last_BD), inputs) if want_weights else {}
        return Fused(outputs=self.told(states_BSD, mask_BS, last_BD), weights=seen)
