"""Emotion by a trained fusion: encoders give features, a fusion joins the streams, heads tell the label, valence and arousal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from unifusion import catalog
from unifusion.errors import ConfigError
from unifusion.models.encoded import EncodedModel, EncodedStream, placed
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape
from unifusion.processor.streams import read_config

__all__ = ["AffectConfig", "AffectModel", "AffectOutput"]


@dataclass(kw_only=True)
class AffectConfig:
    """All that an emotion model is, but its weights.

    Attributes:
        streams: by name, in the order the fusion has them.
        fusion: public name (`unifusion list fusions`), with its choices.
        labels: in the order of the logits; none for valence and arousal alone.
        affect: whether valence and arousal are told.
        metadata: fields that are known of a row; None for none.
        dropout: before the heads.
        max_seconds: longest span shown to the encoders.
        temperature: logits are divided by it; fitted on held-out rows.
    """

    streams: dict[str, EncodedStream]
    fusion: str = "attention_pool"
    fusion_config: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    affect: bool = False
    metadata: MetadataFields | None = None
    dropout: float = 0.1
    max_seconds: float = 30.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what nothing can be told by."""
        if not self.streams:
            raise ConfigError("an emotion model has no streams;", remedy="name at least one: {audio: {encoder: whisper, ..}}.")
        if len(self.labels) == 1 or len(set(self.labels)) < len(self.labels):
            raise ConfigError(f"the labels are {', '.join(self.labels)};", remedy="give two or more different ones.")
        if not self.outputs:
            raise ConfigError("neither labels nor valence and arousal are to be told;", remedy="give labels, or affect: true.")

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the fusion gives a vector for."""
        return (*(("emotion",) if self.labels else ()), *(("valence", "arousal") if self.affect else ()))

    @cached_property
    def fusion_class(self) -> type[Fusion]:
        """The class in `unifusion/models/fusions/`."""
        found: type[Fusion] = catalog.load("fusions", self.fusion)
        return found

    @cached_property
    def fusion_choices(self) -> Any:
        """Its Config."""
        return read_config(self.fusion_class.Config, self.fusion_config, f"fusion {self.fusion!r}")

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "model_type": "unifusion_affect", "streams": {n: s.to_dict() for n, s in self.streams.items()}, "fusion": self.fusion,
            "stream_order": list(self.streams), "fusion_config": asdict(self.fusion_choices), "labels": list(self.labels),
            "affect": self.affect, "metadata": self.metadata.to_dict() if self.metadata else None, "dropout": self.dropout,
            "max_seconds": self.max_seconds, "temperature": self.temperature,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> AffectConfig:
        """Read the JSON form.

        Raises:
            ConfigError: a key is unknown.
        """
        given = {k: v for k, v in raw.items() if k not in ("model_type", "stream_order", "absent")}
        order = raw.get("stream_order") or list(given["streams"])
        given["streams"] = {n: read_config(EncodedStream, given["streams"][n], f"stream {n!r}") for n in order}
        given["labels"] = tuple(given.get("labels") or ())
        given["metadata"] = MetadataFields.from_dict(given["metadata"]) if given.get("metadata") else None
        made: AffectConfig = read_config(cls, given, "an emotion model")
        return made


@dataclass(frozen=True, kw_only=True)
class AffectOutput:
    """What is told of B rows.

    Attributes:
        logits_BK: of the labels; None without labels.
        affect_B2: valence and arousal in [-1, 1]; None where they are not told.
        weights: stream -> (B, S), the fusion's attention, where it was asked for.
    """

    logits_BK: Tensor | None
    affect_B2: Tensor | None
    weights: dict[str, Tensor]


class AffectModel(EncodedModel):
    """Encoders, a fusion and heads. Frozen encoders run in eval mode and without gradient, whatever the mode of the rest.

    Args:
        config: what it is.
        encoders: built already (of a checkpoint); others are built here.
        load_weights: fetch the weights of encoders that name a source.
    """

    def __init__(
        self, config: AffectConfig, *, encoders: Mapping[str, nn.Module] | None = None, load_weights: bool = True
    ) -> None:  # fmt: skip
        super().__init__(config.streams, max_seconds=config.max_seconds, encoders=encoders, load_weights=load_weights)
        self.config = config
        shapes = {n: StreamShape(modality=s.spec.modality, width=self.width_of(n)) for n, s in config.streams.items()}
        self.fusion = config.fusion_class.build(config.fusion_choices, shapes, metadata=config.metadata, outputs=config.outputs)
        sizes, width = {"emotion": len(config.labels), "valence": 1, "arousal": 1}, self.fusion.width
        self.heads = nn.ModuleDict(
            {n: nn.Sequential(nn.LayerNorm(width), nn.Dropout(config.dropout), nn.Linear(width, sizes[n])) for n in config.outputs}
        )
        self.free()

    @property
    def device(self) -> torch.device:
        """Where the heads are."""
        return next(self.heads.parameters()).device

    def inputs(self, batch: Mapping[str, Any]) -> Inputs:
        """What the fusion is given, each stream's M clips at their rows: tokens (B, S, D)."""
        rows = int(batch["rows"])
        streams = {n: placed(self.features(n, part), part["rows"], rows) for n, part in batch["streams"].items()}
        order = [n for n in self.config.streams if n in streams]
        return Inputs(streams={n: streams[n] for n in order}, metadata=batch.get("metadata"))

    def tell(self, inputs: Inputs, *, want_weights: bool = False) -> AffectOutput:
        """Fuse and tell: logits (B, K), valence and arousal (B, 2)."""
        fused: Fused = self.fusion(inputs, want_weights=want_weights)
        told = {output: head(fused.outputs[output]) for output, head in self.heads.items()}
        affect = torch.cat([told["valence"], told["arousal"]], dim=-1).tanh() if self.config.affect else None
        return AffectOutput(logits_BK=told.get("emotion"), affect_B2=affect, weights=fused.weights)

    def forward(self, batch: Mapping[str, Any], *, want_weights: bool = False) -> AffectOutput:
        """Tell what B rows show.

        Args:
            batch: of `collate_rows`: `rows` B, `streams` name -> StreamBatch, `metadata` or none.
            want_weights: tell what the fusion attended to.

        Returns:
            logits (B, K), valence and arousal (B, 2).
        """
        return self.tell(self.inputs(batch), want_weights=want_weights)

    def probabilities(self, logits_BK: Tensor) -> Tensor:
        """Shares (B, K) of the labels, calibrated."""
        return (logits_BK.float() / self.config.temperature).softmax(-1)


def order_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels in the order of the logits: sorted, each once."""
    return tuple(sorted(dict.fromkeys(labels)))
