"""What encodes: the encoders of a checkpoint, without its language model where they can be had alone, or one encoder of the catalog."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from unifusion.batch import Features, StreamBatch
from unifusion.conversation import Media
from unifusion.errors import CheckpointError, ConfigError, nearest
from unifusion.features.keys import encoder_keys
from unifusion.features.opener import StoredOpener, store_folder
from unifusion.features.store import FeatureStore
from unifusion.limits import Limits
from unifusion.models.config import UniFusionConfig
from unifusion.processor import MediaOpener, OpenedMedia, StreamSpec
from unifusion.share import resolve_checkpoint

__all__ = ["EncoderSource", "Encoders", "adapter_of"]


class Encoders(nn.Module):
    """Frozen encoders by stream name, with what opens clips for them.

    Args:
        encoders: stream -> encoder.
        specs: all streams of the model, which decide how a clip is decoded, those that are not encoded among them.
        opener: opens clips for the streams of `encoders`.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], specs: Mapping[str, StreamSpec], opener: MediaOpener) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(dict(encoders))
        self.specs = dict(specs)
        self.opener = opener
        self.requires_grad_(False).eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def features(self, stream: str, batch: StreamBatch) -> Features:
        """Run one stream's encoder: tokens (M, S, D) of M clips."""
        encoder = self.encoders[stream]
        dtype = next(encoder.parameters()).dtype
        inputs = {k: v for k, v in batch.items() if k != "rows"}
        cast = {k: v.to(dtype) if k not in ("times", "mask") and v.is_floating_point() else v for k, v in inputs.items()}
        out: Features = encoder(**cast)
        return out

    def stores(self, folder: str | Path) -> StoredOpener:
        """The stores of these encoders below `folder`, the same that a model with them reads."""
        stores, keys = {}, {}
        for name, encoder in self.encoders.items():
            found = encoder_keys(self.specs[name], encoder, self.opener.max_seconds, self.opener.strict)
            keys[name], where = store_folder(Path(folder), name, *found)
            stores[name] = FeatureStore(where)
        specs = {name: self.specs[name] for name in keys}
        return StoredOpener(specs, stores, keys, limits=self.opener.limits)

    def open(self, media: Media) -> OpenedMedia:
        """Decode and preprocess a clip for the streams that are encoded."""
        return self.opener.open(media)


@dataclass(frozen=True, kw_only=True)
class EncoderSource:
    """Where encoders come from. Small, so that it can be sent to other machines, which load them there.

    Attributes:
        model: folder or name of a checkpoint.
        encoder: public name of an encoder instead, with its `weights`.
        weights: hub name or folder of that encoder's weights; `revision` pins it.
        streams: streams of the checkpoint to encode, all when empty; or what to call the encoder's.
        max_seconds: longest span shown to `encoder`; a checkpoint has its own.
        isolate: decode in a killable child process.
        strict: a damaged frame is an error.
        device: where to compute.
    """

    model: str = ""
    encoder: str = ""
    weights: str | None = None
    revision: str | None = None
    streams: tuple[str, ...] = ()
    max_seconds: float = 60.0
    isolate: bool = False
    strict: bool = True
    device: str = "cpu"

    def load(self) -> Encoders:
        """The encoders, frozen, in eval mode.

        Raises:
            CheckpointError: weights are missing or do not fit.
            ConfigError: no such encoder or stream, or an encoder without weights.
        """
        encoders, specs, max_seconds = self._of_catalog() if self.encoder else self._of_checkpoint()
        wrong = [name for name in self.streams if name not in specs]
        if wrong:
            raise ConfigError(f"no stream {wrong[0]!r} in {self.model};", remedy=nearest(wrong[0], list(specs)))
        chosen = {name: encoder for name, encoder in encoders.items() if not self.streams or name in self.streams}
        opener = MediaOpener(
            specs, limits=Limits(), max_seconds=max_seconds, isolate=self.isolate, strict=self.strict, only=tuple(chosen)
        )
        return Encoders(chosen, specs, opener).to(self.device)

    def _of_catalog(self) -> tuple[dict[str, nn.Module], dict[str, StreamSpec], float]:
        """One encoder by its public name."""
        if self.weights is None:
            raise ConfigError(f"encoder {self.encoder!r} has no weights;", remedy="say with --source which folder or hub name holds them.")
        if len(self.streams) > 1:
            raise ConfigError(f"one encoder cannot have {len(self.streams)} streams;", remedy="name one, or none.")
        spec = StreamSpec(encoder=self.encoder, encoder_config={"source": self.weights, "revision": self.revision})
        name = self.streams[0] if self.streams else spec.modality
        return {name: spec.encoder_class.build(spec.encoder_choices, load_weights=True)}, {name: spec}, self.max_seconds

    def _of_checkpoint(self) -> tuple[dict[str, nn.Module], dict[str, StreamSpec], float]:
        """The encoders of a checkpoint; its language model is only loaded where LoRA may be woven into the encoders."""
        from unifusion import checkpoint

        folder = resolve_checkpoint(self.model)
        if not (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
            model, processor = checkpoint.load(self.model)
            return dict(model.encoders.items()), processor.specs, processor.max_seconds
        checkpoint.check_folder(folder)
        config = UniFusionConfig.from_pretrained(folder)
        specs = config.specs
        encoders = {}
        for name in self.streams or specs:
            if name in specs:
                elsewhere = f"encoders.{name}" in (config.absent or ())
                encoders[name] = specs[name].encoder_class.build(specs[name].encoder_choices, load_weights=elsewhere)
                if not elsewhere:
                    _fill(encoders[name], folder, f"encoders.{name}.")
        told = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
        return encoders, specs, float(told["max_seconds"])


def adapter_of(checkpoint: str, stream: str, spec: StreamSpec) -> nn.Module:
    """A stream's adapter with its weights, without the language model where it can be had alone.

    Raises:
        CheckpointError: the checkpoint cannot be read.
    """
    from unifusion import checkpoint as chat

    folder = resolve_checkpoint(checkpoint)
    if not (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file():
        model, _ = chat.load(checkpoint)
        whole: nn.Module = model.adapters[stream]
        return whole
    chat.check_folder(folder)
    config = UniFusionConfig.from_pretrained(folder)
    in_width = int(spec.encoder_class.build(spec.encoder_choices, load_weights=False).width)
    adapter: nn.Module = spec.adapter_class(in_width, int(config.get_text_config().hidden_size), spec.adapter_choices)
    _fill(adapter, folder, f"adapters.{stream}.")
    return adapter


def _fill(encoder: nn.Module, folder: Path, prefix: str) -> None:
    """Read a part's weights out of a checkpoint's files, strictly."""
    state = {}
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():
                if key.startswith(prefix):
                    tensor = file.get_tensor(key)
                    state[key.removeprefix(prefix)] = tensor.float() if tensor.is_floating_point() else tensor
    try:
        encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder} does not hold {prefix.rstrip('.')} as its config says: {str(error).splitlines()[-1].strip()};",
            remedy="load it with the version of unifusion that saved it.",
        ) from error
