"""The contract of an early fusion: features of several streams, and what is known of the people, become one vector for each output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.models.fusions._metadata import MetadataFields

__all__ = ["Fused", "Fusion", "Inputs", "StreamShape"]


@dataclass(frozen=True, kw_only=True)
class StreamShape:
    """What a fusion has to know of a stream to be built.

    Attributes:
        modality: video, audio, image or text.
        width: D of its features.
    """

    modality: str
    width: int


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """A batch of B rows.

    Attributes:
        streams: stream -> tokens (B, S, D), mask (B, S), times (B, S) in seconds. A row that lacks a stream has no real token of it; a
            stream that the whole batch lacks may have S = 0, or be left out.
        metadata: what `MetadataFields.encode` gives, `values` (B, F) and `words` (B, G, W); None where the model takes none.
    """

    streams: Mapping[str, Features]
    metadata: Mapping[str, Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Fused:
    """What a fusion gives.

    Attributes:
        outputs: output -> (B, D).
        weights: stream -> (B, S), how much of the output's attention each token got, summing to at most 1 over all streams of a row; empty
            unless it was asked for, or where a fusion cannot tell.
    """

    outputs: dict[str, Tensor]
    weights: dict[str, Tensor] = field(default_factory=dict)


class Fusion(nn.Module):
    """Streams become one vector (B, width) for each output, by which a head classifies or estimates.

    Absent is absent: a row's output must not depend on the tokens of a stream whose mask is false, whatever stands there, nor on padding,
    nor on the other rows. A row without any real token still gives finite outputs.

    Args:
        config: the fusion's choices.
        streams: name -> shape, in the model's order.
        metadata: fields that are known of a row; None for none.
        outputs: names of what is to be told (`emotion`, `affect`).
    """

    @dataclass(kw_only=True)
    class Config:
        """Choices of the fusion."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Modalities it cannot be built without; a row may lack them all the same."""
    others: ClassVar[bool] = True
    """Whether it takes streams of further modalities; several of one it always takes."""

    def __init__(
        self, config: Any, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> None:  # fmt: skip
        super().__init__()
        self.config, self.shapes, self.fields, self.names = config, dict(streams), metadata, tuple(outputs)
        found = [s.modality for s in streams.values()]
        for modality in self.needs:
            if modality not in found:
                wanted = f"add one ({', '.join(self.needs)} are needed)."
                raise ConfigError(f"{type(self).__name__} has no {modality} stream;", remedy=wanted)
        beside = [f"{n} ({s.modality})" for n, s in streams.items() if s.modality not in self.needs]
        if not self.others and beside:
            raise ConfigError(
                f"{type(self).__name__} takes streams of {' and '.join(self.needs)}, not {', '.join(beside)};",
                remedy="leave the others out, or take another fusion: unifusion list fusions.",
            )

    @classmethod
    @abstractmethod
    def tiny(cls) -> Any:
        """Return a Config of a few thousand weights, for tests and documentation."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D of the outputs."""

    @abstractmethod
    def forward(self, inputs: Inputs, *, want_weights: bool = False) -> Fused:
        """Fuse a batch: streams of (B, S, D) to outputs of (B, width)."""

    def pretrain_loss(self, inputs: Inputs) -> Tensor:
        """A loss () that needs no label, for pre-training on any clips.

        Raises:
            ConfigError: this fusion has none.
        """
        raise ConfigError(f"{type(self).__name__} has no pre-training;", remedy="leave it out, or take flava.")

    @classmethod
    def build(
        cls, config: Any, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> Self:  # fmt: skip
        """Construct the fusion; the name under which code outside does it."""
        return cls(config, streams, metadata=metadata, outputs=outputs)
