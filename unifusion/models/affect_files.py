"""An emotion model as a folder: `config.json`, `model.safetensors`, what text encoders read, `provenance.json`, `README.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from unifusion.atomic import atomic_folder
from unifusion.errors import CheckpointError
from unifusion.features.source import EncoderSource
from unifusion.models.affect import AffectConfig, AffectModel
from unifusion.models.encoded import EncodedStream
from unifusion.share import resolve_checkpoint

__all__ = ["STORED", "is_affect", "load_affect", "save_affect", "stream_of_checkpoint"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
STORED = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Types that weights may be stored in."""


def is_affect(folder: str | Path) -> bool:
    """Whether a folder, or the name of a shipped checkpoint, is an emotion model."""
    path = resolve_checkpoint(folder) / _CONFIG
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("model_type") == "unifusion_affect")
    except (OSError, ValueError, AttributeError):
        return False


def save_affect(
    model: AffectModel, folder: str | Path, *, provenance: Mapping[str, Any], card: str = "", dtype: torch.dtype | None = None
) -> Path:  # fmt: skip
    """Write a model; the folder is replaced as a whole.

    A frozen encoder that names its source is not stored: it is fetched from there again.

    Args:
        model: the model.
        folder: where to.
        provenance: what it was made by.
        card: README.md.
        dtype: store floating tensors in this type; they are computed in float32 after loading all the same.

    Raises:
        CheckpointError: an encoder is user code, or a weight is not finite in the type.
    """
    target = Path(folder)
    for name, stream in model.config.streams.items():
        if not stream.encoder.isidentifier():
            found = f"stream {name!r} uses {stream.encoder}; a checkpoint may name catalog entries only;"
            raise CheckpointError(found, remedy="put it into unifusion/encoders.")
    absent = [n for n, s in model.config.streams.items() if s.spec.encoder_choices.source and not s.trained]
    state = {}
    for key, value in model.state_dict().items():
        if not any(key.startswith(f"encoders.{n}.") for n in absent):
            tensor = value.detach().cpu().contiguous().clone()
            tensor = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                found = f"the weight {key!r} is not finite in {tensor.dtype}; nothing was written;"
                raise CheckpointError(found, remedy="take the checkpoint before it, or float32.")
            state[key] = tensor
    with atomic_folder(target) as work:
        told = {**model.config.to_dict(), "absent": absent}
        (work / _CONFIG).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        save_file(state, work / _WEIGHTS, metadata={"format": "pt"})
        for name, stream in model.config.streams.items():
            inner = work / "streams" / name
            inner.mkdir(parents=True)
            stream.spec.encoder_class.save_files(stream.spec.opening_choices, inner)
            if not any(inner.iterdir()):
                inner.rmdir()
        (work / "provenance.json").write_text(json.dumps(provenance, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")
        (work / "README.md").write_text(card or f"# {target.name}\n", encoding="utf-8")
    return target


def load_affect(folder: str | Path, *, device: str | torch.device = "cpu") -> AffectModel:
    """Load a model, strictly, in eval mode.

    Raises:
        CheckpointError: it is no emotion model, or its weights do not fit.
    """
    path = resolve_checkpoint(folder)
    if not is_affect(path):
        raise CheckpointError(f"{folder} holds no emotion model;", remedy="name a folder that `unifusion train emotion` wrote.")
    raw = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
    for name, stream in raw["streams"].items():
        if not str(stream.get("encoder", "")).isidentifier() or not str(raw["fusion"]).isidentifier():
            found = f"{path / _CONFIG}: stream {name!r} names the encoder {stream.get('encoder')!r}, or the fusion is {raw['fusion']!r};"
            raise CheckpointError(found, remedy="only catalog names may be loaded.")
    config = AffectConfig.from_dict(raw)
    absent = list(raw.get("absent") or ())
    given = {n: _encoder(s, absent=n in absent, where=f"{path}, stream {n!r}") for n, s in config.streams.items()}
    model = AffectModel(config, encoders=given, load_weights=False)
    for name, stream in config.streams.items():
        if (path / "streams" / name).is_dir():
            stream.spec.read_from(path / "streams" / name)
    _fill(model, path / _WEIGHTS, absent)
    return model.to(device).eval()


def _encoder(stream: EncodedStream, *, absent: bool, where: str) -> torch.nn.Module:
    """A stream's encoder, with its weights from their source where the folder lacks them."""
    try:
        built: torch.nn.Module = stream.spec.encoder_class.build(stream.spec.encoder_choices, load_weights=absent)
    except CheckpointError as error:
        remedy = "put it back where it was, or write into config.json, at `source`, where it is now."
        raise CheckpointError(f"{where}: {error.found}", remedy=remedy) from error
    return built


def _fill(model: AffectModel, path: Path, absent: list[str]) -> None:
    """Read all weights that are stored, and no others."""
    try:
        state = load_file(path)
    except Exception as error:  # safetensors raises plain Exceptions for broken files
        raise CheckpointError(f"{path} cannot be read: {error};", remedy="copy the checkpoint again.") from error
    wanted = {k for k in model.state_dict() if not any(k.startswith(f"encoders.{n}.") for n in absent)}
    missing, unknown = sorted(wanted - set(state)), sorted(set(state) - wanted)
    if missing or unknown:
        found = f"{path} does not fit its config (missing {missing[:5]}, unknown {unknown[:5]});"
        raise CheckpointError(found, remedy="load it with the version that saved it.")
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[-1].strip()};", remedy="copy the checkpoint again.") from error


def stream_of_checkpoint(checkpoint: str, stream: str) -> tuple[EncodedStream, torch.nn.Module]:
    """A stream of a chat model's checkpoint, for an emotion model: its choices and its encoder with weights.

    Raises:
        ConfigError: there is no such stream.
        CheckpointError: the checkpoint cannot be read.
    """
    held = EncoderSource(model=checkpoint, streams=(stream,)).load()
    spec = held.specs[stream]
    return EncodedStream(encoder=spec.encoder, encoder_config=spec.to_dict()["encoder_config"]), held.encoders[stream]
