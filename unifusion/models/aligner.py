"""One space for text, sound and picture: encoders, towers above them, vectors of length one.

After Radford et al., "CLIP" (2021), and Girdhar et al., "ImageBind" (2023), whose space is shared by modalities that were never seen
together; vectors of one clip's modalities add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unifusion.batch import Features
from unifusion.errors import ConfigError, nearest
from unifusion.models.encoded import EncodedModel, EncodedStream, placed
from unifusion.models.towers import Clock, Head, Tower
from unifusion.processor.streams import StreamSpec, in_order, read_config

__all__ = ["CLIP", "Aligner", "AlignerConfig", "AlignerStream"]

CLIP = "clip"
"""The space of whole clips: picture and sound together."""
_MOST = math.log(100.0)


@dataclass(kw_only=True)
class AlignerStream(EncodedStream):
    """One encoder of an embedding model.

    Attributes:
        adapter: public name of an adapter between encoder and tower; none where it is empty.
        adapter_config: its choices.
        adapter_width: D of its tokens; 0 for that of the encoder.
        adapt: whether the adapter is trained.
        clock: choices of a `Clock` over the encoder's own tokens; none where it is empty.
        borrowed: shipped checkpoint and stream that hold the weights, and their hash; they are read from there and not stored again.
    """

    adapter: str = ""
    adapter_config: dict[str, Any] = field(default_factory=dict)
    adapter_width: int = 0
    adapt: bool = True
    clock: dict[str, Any] = field(default_factory=dict)
    borrowed: dict[str, str] = field(default_factory=dict)

    @cached_property
    def spec(self) -> StreamSpec:
        """The same as what opens clips knows it."""
        config = self.adapter_config if self.adapter else {}
        return StreamSpec(encoder=self.encoder, encoder_config=self.encoder_config, adapter=self.adapter or "linear", adapter_config=config)

    @cached_property
    def timing(self) -> Clock | None:
        """The clock, where there is one."""
        found: Clock | None = read_config(Clock, dict(self.clock), f"{self.encoder}'s clock") if self.clock else None
        return found

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, with all that is resolved."""
        adapter = asdict(self.spec.adapter_choices) if self.adapter else {}
        return {**super().to_dict(), "adapter_config": adapter, "clock": asdict(self.timing) if self.timing else {}}


@dataclass(kw_only=True)
class AlignerConfig:
    """All that an embedding model is, but its weights.

    Attributes:
        streams: encoders by name.
        towers: space -> its streams; where there are none, the streams of each modality are one space of its name.
        width: D of the space.
        head: choices of `Head`.
        max_seconds: longest span shown to the encoders at once.
        temperature: that the scale begins from; it is learned.
        bias: that sigmoid losses begin from.
        calibration: figures fitted on held-out rows, such as `threshold`, the cosine from which a text fits a clip.
    """

    streams: dict[str, AlignerStream]
    towers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    width: int = 512
    head: dict[str, Any] = field(default_factory=dict)
    max_seconds: float = 30.0
    temperature: float = 0.07
    bias: float = -10.0
    calibration: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Settle the towers and refuse what is no model.

        Raises:
            ConfigError: no streams, or a tower of streams that do not go together.
        """
        if not self.streams:
            raise ConfigError("an embedding model has no streams;", remedy="name at least one: {audio: {encoder: whisper, ..}}.")
        if self.width < 1 or self.temperature <= 0:
            found = f"a space of width {self.width} with temperature {self.temperature:g};"
            raise ConfigError(found, remedy="both are above 0.")
        if not self.towers:
            for name, stream in self.streams.items():
                space = stream.spec.modality
                self.towers[space] = (*self.towers.get(space, ()), name)
        self.towers = {space: tuple(names) for space, names in self.towers.items()}
        used = [n for names in self.towers.values() for n in names]
        for name in used:
            if name not in self.streams:
                raise ConfigError(f"a tower reads the stream {name!r};", remedy=nearest(name, list(self.streams)))
        lost = [n for n in self.streams if used.count(n) != 1]
        if lost:
            raise ConfigError(f"{used.count(lost[0])} towers read the stream {lost[0]!r};", remedy="name each stream in one tower.")
        for space, names in self.towers.items():
            kinds = {"text" if self.streams[n].spec.modality == "text" else "media" for n in names}
            if len(kinds) != 1 or space == CLIP:
                found = f"the tower {space!r} reads {', '.join(names) or 'nothing'};"
                raise ConfigError(found, remedy=f"give it streams of words, or of picture and sound, and another name than {CLIP!r}.")

    @cached_property
    def head_choices(self) -> Head:
        """The Head."""
        found: Head = read_config(Head, dict(self.head), "a head")
        return found

    def spaces_of(self, kind: str) -> tuple[str, ...]:
        """Spaces of the towers that read words (`text`), or picture and sound (`media`)."""
        read = {s: self.streams[names[0]].spec.modality == "text" for s, names in self.towers.items()}
        return tuple(s for s, words in read.items() if words == (kind == "text"))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "model_type": "unifusion_aligner", "streams": {n: s.to_dict() for n, s in self.streams.items()},
            "stream_order": list(self.streams), "towers": {s: list(n) for s, n in self.towers.items()}, "width": self.width,
            "head": asdict(self.head_choices), "max_seconds": self.max_seconds, "temperature": self.temperature, "bias": self.bias,
            "calibration": dict(self.calibration),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> AlignerConfig:
        """Read the JSON form.

        Raises:
            ConfigError: a key is unknown.
        """
        given = {k: v for k, v in raw.items() if k not in ("model_type", "stream_order", "absent")}
        streams = in_order(dict(given["streams"]), raw.get("stream_order"))
        given["streams"] = {n: read_config(AlignerStream, dict(s), f"stream {n!r}") for n, s in streams.items()}
        made: AlignerConfig = read_config(cls, given, "an embedding model")
        return made


class Aligner(EncodedModel):
    """Encoders, adapters and towers. Vectors are of length one; `logit_scale` is kept beside them and never multiplied in.

    Args:
        config: what it is.
        encoders: built already (of a checkpoint); others are built here.
        adapters: likewise.
        load_weights: fetch the weights of encoders that name a source.
    """

    def __init__(
        self, config: AlignerConfig, *, encoders: Mapping[str, nn.Module] | None = None, adapters: Mapping[str, nn.Module] | None = None,
        load_weights: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(config.streams, max_seconds=config.max_seconds, encoders=encoders, load_weights=load_weights)
        self.config = config
        given, self.adapters = dict(adapters or {}), nn.ModuleDict()
        for name, stream in config.streams.items():
            if stream.adapter:
                width = self.width_of(name)
                self.adapters[name] = given.get(name) or stream.spec.adapter_class(
                    width, stream.adapter_width or width, stream.spec.adapter_choices
                )
        widths = {n: s.adapter_width or self.width_of(n) for n, s in config.streams.items()}
        timed = {n: (self.width_of(n), s.timing) for n, s in config.streams.items() if s.timing is not None}
        self.towers = nn.ModuleDict(
            {
                space: Tower({n: widths[n] for n in names}, {n: timed[n] for n in names if n in timed}, config.head_choices, config.width)
                for space, names in config.towers.items()
            }
        )
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.logit_bias = nn.Parameter(torch.tensor(float(config.bias)))
        self.free()

    def free(self) -> None:
        """Let what is to be trained take part, and nothing else."""
        for name, adapter in self.adapters.items():
            adapter.requires_grad_(self.config.streams[name].adapt)
        super().free()

    def elsewhere(self, absent: Sequence[str]) -> list[str]:
        """See EncodedModel; and those of borrowed streams."""
        lent = [n for n, s in self.config.streams.items() if s.borrowed]
        return [*super().elsewhere(absent), *(f"{part}.{n}." for n in lent for part in ("encoders", "adapters"))]

    @property
    def scale(self) -> Tensor:
        """1 / temperature (), at most 100."""
        return self.logit_scale.clamp(max=_MOST).exp()

    def vectors(self, batch: Mapping[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
        """Embed B rows.

        Args:
            batch: of `collate_rows`: `rows` B, `streams` name -> StreamBatch; one with `adapted` holds what the adapter gave.

        Returns:
            space -> vectors (B, D) of length one, and which rows (B,) have one; the others are zero. `clip` is the sum of the spaces of
            picture and sound, made one long again.
        """
        return self.joined(self.read(batch))

    def read(self, batch: Mapping[str, Any]) -> dict[str, tuple[Features, Features]]:
        """Streams of the towers that have any in the batch -> adapted tokens (B, S, D), and the encoder's own; see `vectors`."""
        given = batch["streams"]
        some = [names for names in self.config.towers.values() if any(n in given for n in names)]
        return {n: self.tokens(n, given.get(n), int(batch["rows"])) for names in some for n in names}

    def joined(self, read: Mapping[str, tuple[Features, Features]]) -> dict[str, tuple[Tensor, Tensor]]:
        """What `vectors` gives, of tokens that `read` gave, or of some of them."""
        out: dict[str, tuple[Tensor, Tensor]] = {}
        for space, names in self.config.towers.items():
            if names[0] not in read:
                continue
            found_BD, there_B = self.towers[space]({n: read[n][0] for n in names}, {n: read[n][1] for n in names})
            out[space] = (F.normalize(found_BD.float(), dim=-1) * there_B[:, None], there_B)
        media = [out[s] for s in self.config.spaces_of("media") if s in out]
        if media:
            there_B = torch.stack([t for _, t in media]).any(dim=0)
            out[CLIP] = (F.normalize(sum((v for v, _ in media), torch.zeros(())), dim=-1) * there_B[:, None], there_B)
        return out

    def tokens(self, name: str, batch: Mapping[str, Any] | None, rows: int) -> tuple[Features, Features]:
        """A stream's adapted tokens and its encoder's own, (B, S, D); of a stream that the batch lacks, none."""
        if batch is None:
            widths = (self.config.streams[name].adapter_width or self.width_of(name), self.width_of(name))
            none_B0 = torch.zeros(rows, 1, device=self.device)
            empty = [Features(none_B0[..., None].expand(-1, -1, w).to(self.dtype), none_B0.bool(), none_B0) for w in widths]
            return empty[0], empty[1]
        found = self.features(name, batch)
        adapted = found
        if name in self.adapters and not batch.get("adapted"):
            with torch.set_grad_enabled(torch.is_grad_enabled() and (self.config.streams[name].adapt or name in self.live)):
                adapted = self.adapters[name](found)
        return placed(adapted, batch["rows"], rows), placed(found, batch["rows"], rows)

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Embed B rows: space -> vectors (B, D); rows that lack a space are zero there."""
        return {space: vectors_BD for space, (vectors_BD, _) in self.vectors(batch).items()}
