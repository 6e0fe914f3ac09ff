"""An emotion model as a folder: see `encoded_files`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from unifusion.errors import CheckpointError
from unifusion.features.source import EncoderSource
from unifusion.models.affect import AffectConfig, AffectModel
from unifusion.models.encoded import EncodedStream
from unifusion.models.encoded_files import encoders_in, fill, model_type_of, read_told, save_encoded
from unifusion.share import resolve_checkpoint

__all__ = ["is_affect", "load_affect", "save_affect", "stream_of_checkpoint"]


def is_affect(folder: str | Path) -> bool:
    """Whether a folder, or the name of a shipped checkpoint, is an emotion model."""
    return model_type_of(folder) == "unifusion_affect"


def save_affect(
    model: AffectModel, folder: str | Path, *, provenance: Mapping[str, Any], card: str = "", dtype: torch.dtype | None = None
) -> Path:  # fmt: skip
    """Write a model; see `save_encoded` for the arguments and what is raised."""
    return save_encoded(model, folder, told=model.config.to_dict(), provenance=provenance, card=card, dtype=dtype)


def load_affect(folder: str | Path, *, device: str | torch.device = "cpu") -> AffectModel:
    """Load a model, strictly, in eval mode.

    Raises:
        CheckpointError: it is no emotion model, or its weights do not fit.
    """
    path = resolve_checkpoint(folder)
    if not is_affect(path):
        raise CheckpointError(f"{folder} holds no emotion model;", remedy="name a folder that `unifusion train emotion` wrote.")
    raw = read_told(path)
    config, absent = AffectConfig.from_dict(raw), list(raw.get("absent") or ())
    model = AffectModel(config, encoders=encoders_in(path, config.streams, absent), load_weights=False)
    fill(model, path, absent)
    return model.to(device).eval()


def stream_of_checkpoint(checkpoint: str, stream: str) -> tuple[EncodedStream, torch.nn.Module]:
    """A stream of a chat model's checkpoint, for an emotion model: its choices and its encoder with weights.

    Raises:
        ConfigError: there is no such stream.
        CheckpointError: the checkpoint cannot be read.
    """
    held = EncoderSource(model=checkpoint, streams=(stream,)).load()
    spec = held.specs[stream]
    return EncodedStream(encoder=spec.encoder, encoder_config=spec.to_dict()["encoder_config"]), held.encoders[stream]
