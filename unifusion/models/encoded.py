"""Encoders by stream name under a model that makes vectors of their features: frozen ones in eval mode, the last blocks trained on wish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.models.targets import repeated_blocks
from unifusion.processor.streams import StreamSpec

__all__ = ["EncodedModel", "EncodedStream", "placed"]


@dataclass(kw_only=True)
class EncodedStream:
    """One stream of a model that ends in vectors: an emotion model, an embedding model.

    Attributes:
        encoder: public name of the encoder.
        encoder_config: its choices.
        reads: what of a row it is given: its clip (a text encoder then reads the transcript), or `history`, what was said before.
        trained: how many of the encoder's last blocks are trained with the fusion: 0 none (its features can be stored), -1 all of it.
            A BERT of twelve blocks with the first six frozen has 6.
    """

    encoder: str
    encoder_config: dict[str, Any] = field(default_factory=dict)
    reads: Literal["clip", "history"] = "clip"
    trained: int = 0

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if isinstance(self.trained, bool) or not isinstance(self.trained, int) or self.trained < -1:
            found = f"{self.encoder}: trained is {self.trained!r};"
            raise ConfigError(found, remedy="say how many of its last blocks, 0 for none, -1 for all of it.")
        if self.reads not in ("clip", "history"):
            raise ConfigError(f"a stream reads {self.reads!r};", remedy="take clip or history.")
        if self.reads == "history" and self.spec.modality != "text":
            raise ConfigError(f"{self.encoder} cannot read what was said before;", remedy="take a text encoder: bert, sbert, xlm_roberta.")

    @cached_property
    def spec(self) -> StreamSpec:
        """The same as what opens clips knows it; its adapter is not used."""
        return StreamSpec(encoder=self.encoder, encoder_config=self.encoder_config, adapter="linear")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with the encoder's network resolved."""
        return {**asdict(self), "encoder_config": asdict(self.spec.encoder_choices)}


class EncodedModel(nn.Module):
    """Encoders with what is trained above them. Frozen encoders run in eval mode and without gradient, whatever the mode of the rest.

    Args:
        streams: by name.
        max_seconds: longest span shown to the encoders.
        encoders: built already (of a checkpoint); others are built here.
        load_weights: fetch the weights of encoders that name a source.
    """

    def __init__(
        self, streams: Mapping[str, EncodedStream], *, max_seconds: float, encoders: Mapping[str, nn.Module] | None = None,
        load_weights: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.streams, self.max_seconds = dict(streams), max_seconds
        given = dict(encoders or {})
        self.encoders = nn.ModuleDict(
            {
                name: given.get(name) or s.spec.encoder_class.build(s.spec.encoder_choices, load_weights=load_weights)
                for name, s in self.streams.items()
            }
        )

    def width_of(self, stream: str) -> int:
        """D of a stream's features."""
        encoder: Any = self.encoders[stream]
        return int(encoder.width)

    def elsewhere(self, absent: Sequence[str]) -> list[str]:
        """How weights are called that a folder of the model does not hold: those of frozen encoders with a source of their own."""
        return [f"encoders.{name}." for name in absent]

    @property
    def dtype(self) -> torch.dtype:
        """In what the trained parts compute."""
        return next((p for p in self.parameters() if p.requires_grad), next(self.parameters())).dtype

    @property
    def device(self) -> torch.device:
        """Where the heads are."""
        return next(self.parameters()).device

    @property
    def live(self) -> tuple[str, ...]:
        """Streams whose encoder is trained, so that features cannot be stored."""
        return tuple(n for n, s in self.streams.items() if s.trained)

    def _trained_blocks(self, name: str) -> list[nn.Module]:
        """The blocks of an encoder that are trained, the last one first.

        Raises:
            ConfigError: it has fewer.
        """
        blocks, wanted = repeated_blocks(self.encoders[name]), self.streams[name].trained
        if wanted > len(blocks):
            found = f"stream {name!r}: {wanted} blocks of {self.streams[name].encoder} are to be trained, and it has {len(blocks)};"
            raise ConfigError(found, remedy=f"take 1 to {len(blocks)}, or -1 for all of it." if blocks else "take -1 to train all of it.")
        return blocks[::-1][: len(blocks) if wanted < 0 else wanted]

    def free(self) -> None:
        """Let the parts of the encoders that are to be trained take part, and no others."""
        for name, stream in self.streams.items():
            self.encoders[name].requires_grad_(stream.trained < 0)
            for block in self._trained_blocks(name):
                block.requires_grad_(True)
        self.train(self.training)

    def waiting(self, share: float) -> list[nn.Parameter]:
        """Weights of trained encoders that wait while a share of their blocks, the last ones first, has been let in (gradual unfreezing,
        Howard and Ruder, "ULMFiT", 2018); none at a share of 1."""
        found: list[nn.Parameter] = []
        for name in self.live:
            blocks = self._trained_blocks(name)
            let_in = {id(p) for block in blocks[: round(share * len(blocks))] for p in block.parameters()}
            found += [p for p in self.encoders[name].parameters() if p.requires_grad and id(p) not in let_in and share < 1.0]
        return found

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen encoders stay in eval mode."""
        super().train(mode)
        for encoder in self.encoders.values():
            if not any(p.requires_grad for p in encoder.parameters()):
                encoder.eval()
        return self

    def features(self, stream: str, batch: Mapping[str, Any]) -> Features:
        """One stream's features of M clips: tokens (M, S, D), of a store as they are, or encoded here."""
        kind = self.dtype
        if "tokens" in batch:
            return Features(tokens_BSD=batch["tokens"].to(kind), mask_BS=batch["mask"], times_BS=batch["times"])
        encoder = self.encoders[stream]
        given = {k: v for k, v in batch.items() if k != "rows"}
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in encoder.parameters())):
            found: Features = encoder(**given)
        return found


def placed(found: Features, rows_M: Tensor, count: int) -> Features:
    """Clips (M, S, D) at their rows of B = `count`; a row without one has no real token."""
    tokens = found.tokens_BSD.new_zeros(count, *found.tokens_BSD.shape[1:])
    mask, times = found.mask_BS.new_zeros(count, found.mask_BS.shape[1]), found.times_BS.new_zeros(count, found.times_BS.shape[1])
    return Features(
        tokens_BSD=tokens.index_copy(0, rows_M, found.tokens_BSD), mask_BS=mask.index_copy(0, rows_M, found.mask_BS),
        times_BS=times.index_copy(0, rows_M, found.times_BS),
    )  # fmt: skip
