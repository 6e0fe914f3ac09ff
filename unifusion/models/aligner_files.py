"""An embedding model as a folder: see `encoded_files`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unifusion import catalog
from unifusion.encoders.encoder import weights_hash
from unifusion.errors import CheckpointError, ConfigError
from unifusion.features.source import EncoderSource, adapter_of
from unifusion.models.aligner import Aligner, AlignerConfig, AlignerStream
from unifusion.models.encoded_files import encoders_in, fill, model_type_of, read_told, save_encoded
from unifusion.share import resolve_checkpoint

__all__ = ["is_aligner", "lent_hash", "load_aligner", "save_aligner", "stream_of"]


def is_aligner(folder: str | Path) -> bool:
    """Whether a folder, or the name of a shipped checkpoint, is an embedding model."""
    return model_type_of(folder) == "unifusion_aligner"


def save_aligner(
    model: Aligner, folder: str | Path, *, provenance: Mapping[str, Any], card: str = "", dtype: torch.dtype | None = None
) -> Path:  # fmt: skip
    """Write a model; see `save_encoded` for the arguments and what is raised."""
    return save_encoded(model, folder, told=model.config.to_dict(), provenance=provenance, card=card, dtype=dtype)


def load_aligner(folder: str | Path, *, device: str | torch.device = "cpu") -> Aligner:
    """Load a model, strictly, in eval mode.

    Raises:
        CheckpointError: it is no embedding model, or its weights do not fit.
    """
    path = resolve_checkpoint(folder)
    if not is_aligner(path):
        raise CheckpointError(f"{folder} holds no embedding model;", remedy="name a folder that `unifusion train align` wrote.")
    raw = read_told(path)
    config, absent = AlignerConfig.from_dict(raw), list(raw.get("absent") or ())
    own = {n: s for n, s in config.streams.items() if not s.borrowed}
    encoders, adapters = encoders_in(path, own, absent), {}
    for name, stream in config.streams.items():
        if stream.borrowed:
            encoders[name], adapters[name] = _lent(path, name, stream)
    given = {n: a for n, a in adapters.items() if a is not None}
    model = Aligner(config, encoders=encoders, adapters=given, load_weights=False)
    fill(model, path, absent)
    return model.to(device).eval()


def _lent(folder: Path, name: str, stream: AlignerStream) -> tuple[nn.Module, nn.Module | None]:
    """Encoder and adapter of a stream whose weights another checkpoint holds.

    Raises:
        CheckpointError: they are not there, or have changed.
    """
    lender = stream.borrowed.get("checkpoint", "")
    if lender not in catalog.names("checkpoints"):
        found = f"{folder}: stream {name!r} has its weights from {lender!r}, which is no shipped checkpoint;"
        raise CheckpointError(found, remedy="install the version that saved it, or ask for one that holds everything.")
    _, encoder, adapter = stream_of(lender, stream.borrowed.get("stream", name))
    adapter = adapter if stream.adapter else None
    if lent_hash(encoder, adapter) != stream.borrowed.get("hash"):
        found = f"{folder}: the weights of stream {name!r} are not those that {lender} holds now;"
        raise CheckpointError(found, remedy="install the version that saved it, or train it again.")
    return encoder, adapter


def lent_hash(encoder: nn.Module, adapter: nn.Module | None) -> str:
    """By which borrowed weights are known."""
    return weights_hash(nn.ModuleDict({k: m for k, m in (("encoder", encoder), ("adapter", adapter)) if m is not None}))


def stream_of(checkpoint: str, stream: str) -> tuple[AlignerStream, nn.Module, nn.Module | None]:
    """A stream of a chat model's or of another embedding model's checkpoint, for an embedding model.

    Returns:
        its choices, its encoder and its adapter with weights; None without an adapter.

    Raises:
        ConfigError: there is no such stream.
        CheckpointError: the checkpoint cannot be read.
    """
    if is_aligner(checkpoint):
        other = load_aligner(checkpoint)
        if stream not in other.streams:
            raise ConfigError(f"{checkpoint} has no stream {stream!r};", remedy=f"it has {', '.join(other.streams)}.")
        own = other.adapters[stream] if stream in other.adapters else None
        told = {**other.config.streams[stream].to_dict(), "trained": 0, "adapt": True}
        return AlignerStream(**told), other.encoders[stream], own
    held = EncoderSource(model=checkpoint, streams=(stream,)).load()
    spec = held.specs[stream]
    told = spec.to_dict()
    adapter: Any = adapter_of(checkpoint, stream, spec)
    made = AlignerStream(
        encoder=spec.encoder, encoder_config=told["encoder_config"], adapter=spec.adapter, adapter_config=told["adapter_config"],
        adapter_width=adapter.out_width,
    )  # fmt: skip
    return made, held.encoders[stream], adapter
