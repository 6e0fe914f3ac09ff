"""Emotion by a trained fusion: encoders give features, a fusion joins the streams, heads tell the label, valence and arousal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unifusion import catalog
from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape
from unifusion.models.targets import repeated_blocks
from unifusion.processor.streams import StreamSpec, read_config

__all__ = ["AffectConfig", "AffectModel", "AffectOutput", "AffectStream"]


@dataclass(kw_only=True)
class AffectStream:
    """One stream of an emotion model.

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

    streams: dict[str, AffectStream]
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
        given["streams"] = {n: read_config(AffectStream, given["streams"][n], f"stream {n!r}") for n in order}
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


class AffectModel(nn.Module):
    """Encoders, a fusion and heads. Frozen encoders run in eval mode and without gradient, whatever the mode of the rest.

    Args:
        config: what it is.
        encoders: built already (of a checkpoint); others are built here.
        load_weights: fetch the weights of encoders that name a source.
    """

    def __init__(
        self, config: AffectConfig, *, encoders: Mapping[str, nn.Module] | None = None, load_weights: bool = True
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        given = dict(encoders or {})
        self.encoders = nn.ModuleDict(
            {
                name: given.get(name) or s.spec.encoder_class.build(s.spec.encoder_choices, load_weights=load_weights)
                for name, s in config.streams.items()
            }
        )
        shapes = {n: StreamShape(modality=s.spec.modality, width=int(self._encoder(n).width)) for n, s in config.streams.items()}
        self.fusion = config.fusion_class.build(config.fusion_choices, shapes, metadata=config.metadata, outputs=config.outputs)
        sizes, width = {"emotion": len(config.labels), "valence": 1, "arousal": 1}, self.fusion.width
        self.heads = nn.ModuleDict(
            {n: nn.Sequential(nn.LayerNorm(width), nn.Dropout(config.dropout), nn.Linear(width, sizes[n])) for n in config.outputs}
        )
        self._free()

    def _encoder(self, name: str) -> Any:
        """One stream's encoder."""
        return self.encoders[name]

    @property
    def device(self) -> torch.device:
        """Where the heads are."""
        return next(self.heads.parameters()).device

    @property
    def live(self) -> tuple[str, ...]:
        """Streams whose encoder is trained, so that features cannot be stored."""
        return tuple(n for n, s in self.config.streams.items() if s.trained)

    def _trained_blocks(self, name: str) -> list[nn.Module]:
        """The blocks of an encoder that are trained, the last one first.

        Raises:
            ConfigError: it has fewer.
        """
        blocks, wanted = repeated_blocks(self.encoders[name]), self.config.streams[name].trained
        if wanted > len(blocks):
            found = f"stream {name!r}: {wanted} blocks of {self.config.streams[name].encoder} are to be trained, and it has {len(blocks)};"
            raise ConfigError(found, remedy=f"take 1 to {len(blocks)}, or -1 for all of it." if blocks else "take -1 to train all of it.")
        return blocks[::-1][: len(blocks) if wanted < 0 else wanted]

    def _free(self) -> None:
        """Let the parts of the encoders that are to be trained take part, and no others."""
        for name, stream in self.config.streams.items():
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

    def train(self, mode: bool = True) -> AffectModel:
        """Set the mode; frozen encoders stay in eval mode."""
        super().train(mode)
        for encoder in self.encoders.values():
            if not any(p.requires_grad for p in encoder.parameters()):
                encoder.eval()
        return self

    def features(self, stream: str, batch: Mapping[str, Any]) -> Features:
        """One stream's features of M clips: tokens (M, S, D), of a store as they are, or encoded here."""
        kind = next(self.heads.parameters()).dtype
        if "tokens" in batch:
            return Features(tokens_BSD=batch["tokens"].to(kind), mask_BS=batch["mask"], times_BS=batch["times"])
        encoder = self.encoders[stream]
        given = {k: v for k, v in batch.items() if k != "rows"}
        with torch.set_grad_enabled(torch.is_grad_enabled() and any(p.requires_grad for p in encoder.parameters())):
            found: Features = encoder(**given)
        return found

    def inputs(self, batch: Mapping[str, Any]) -> Inputs:
        """What the fusion is given, each stream's M clips at their rows: tokens (B, S, D)."""
        rows = int(batch["rows"])
        streams = {n: _placed(self.features(n, part), part["rows"], rows) for n, part in batch["streams"].items()}
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
            batch: of `collate_affect`: `rows` B, `streams` name -> StreamBatch, `metadata` or none.
            want_weights: tell what the fusion attended to.

        Returns:
            logits (B, K), valence and arousal (B, 2).
        """
        return self.tell(self.inputs(batch), want_weights=want_weights)

    def probabilities(self, logits_BK: Tensor) -> Tensor:
        """Shares (B, K) of the labels, calibrated."""
        return (logits_BK.float() / self.config.temperature).softmax(-1)


def _placed(found: Features, rows_M: Tensor, count: int) -> Features:
    """Clips (M, S, D) at their rows of B = `count`; a row without one has no real token."""
    tokens = found.tokens_BSD.new_zeros(count, *found.tokens_BSD.shape[1:])
    mask, times = found.mask_BS.new_zeros(count, found.mask_BS.shape[1]), found.times_BS.new_zeros(count, found.times_BS.shape[1])
    return Features(
        tokens_BSD=tokens.index_copy(0, rows_M, found.tokens_BSD), mask_BS=mask.index_copy(0, rows_M, found.mask_BS),
        times_BS=times.index_copy(0, rows_M, found.times_BS),
    )  # fmt: skip


def order_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels in the order of the logits: sorted, each once."""
    return tuple(sorted(dict.fromkeys(labels)))
