"""A model over encoders as a folder: `config.json`, `model.safetensors`, what text encoders read, `provenance.json`, `README.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from unifusion.atomic import atomic_folder
from unifusion.errors import CheckpointError
from unifusion.models.encoded import EncodedModel, EncodedStream
from unifusion.share import resolve_checkpoint

__all__ = ["STORED", "encoders_in", "fill", "model_type_of", "read_told", "save_encoded"]

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
STORED = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""Types that weights may be stored in."""


def model_type_of(folder: str | Path) -> str:
    """What kind of model a folder, or the name of a shipped checkpoint, holds; "" where that cannot be read."""
    path = resolve_checkpoint(folder) / _CONFIG
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("model_type") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def save_encoded(
    model: EncodedModel, folder: str | Path, *, told: Mapping[str, Any], provenance: Mapping[str, Any], card: str = "",
    dtype: torch.dtype | None = None,
) -> Path:  # fmt: skip
    """Write a model; the folder is replaced as a whole.

    A frozen encoder that names its source is not stored: it is fetched from there again.

    Args:
        model: the model.
        folder: where to.
        told: what config.json says.
        provenance: what it was made by.
        card: README.md.
        dtype: store floating tensors in this type; they are computed in float32 after loading all the same.

    Raises:
        CheckpointError: an encoder is user code, or a weight is not finite in the type.
    """
    target = Path(folder)
    for name, stream in model.streams.items():
        for part in (stream.encoder, stream.spec.adapter):
            if not part.isidentifier():
                found = f"stream {name!r} uses {part}; a checkpoint may name catalog entries only;"
                raise CheckpointError(found, remedy="put it into unifusion/encoders or unifusion/adapters.")
    absent = [n for n, s in model.streams.items() if s.spec.encoder_choices.source and not s.trained]
    left_out = tuple(model.elsewhere(absent))
    state = {}
    for key, value in model.state_dict().items():
        if not key.startswith(left_out):
            tensor = value.detach().cpu().contiguous().clone()
            tensor = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                found = f"the weight {key!r} is not finite in {tensor.dtype}; nothing was written;"
                raise CheckpointError(found, remedy="take the checkpoint before it, or float32.")
            state[key] = tensor
    config = {**told, "streams": dict(told["streams"]), "absent": absent}
    with atomic_folder(target) as work:
        save_file(state, work / _WEIGHTS, metadata={"format": "pt"})
        for name, stream in model.streams.items():
            inner = work / "streams" / name
            inner.mkdir(parents=True)
            stream.spec.encoder_class.save_files(stream.spec.opening_choices, inner)
            if not any(inner.iterdir()):
                inner.rmdir()
            elif "tokenizer" in config["streams"][name]["encoder_config"]:  # it lies in the folder now; where it was is nobody's business
                own = config["streams"][name]
                config["streams"][name] = {**own, "encoder_config": {**own["encoder_config"], "tokenizer": None}}
        (work / _CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (work / "provenance.json").write_text(json.dumps(provenance, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")
        (work / "README.md").write_text(card or f"# {target.name}\n", encoding="utf-8")
    return target


def read_told(folder: Path) -> dict[str, Any]:
    """What a folder's config.json says.

    Raises:
        CheckpointError: it names user code.
    """
    raw: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    names = [(n, kind, str(s.get(kind) or "linear")) for n, s in raw["streams"].items() for kind in ("encoder", "adapter")]
    for stream, kind, name in [*names, ("", "fusion", str(raw.get("fusion") or "linear"))]:
        if not name.isidentifier():
            found = f"{folder / _CONFIG}: {f'stream {stream!r}' if stream else 'it'} names the {kind} {name!r};"
            raise CheckpointError(found, remedy="only catalog names may be loaded.")
    return raw


def encoders_in(folder: Path, streams: Mapping[str, EncodedStream], absent: list[str]) -> dict[str, torch.nn.Module]:
    """A folder's encoders, those that it does not hold with their weights from their source.

    Raises:
        CheckpointError: a source cannot be read.
    """
    built: dict[str, torch.nn.Module] = {}
    for name, stream in streams.items():
        try:
            built[name] = stream.spec.encoder_class.build(stream.spec.encoder_choices, load_weights=name in absent)
        except CheckpointError as error:
            remedy = "put it back where it was, or write into config.json, at `source`, where it is now."
            raise CheckpointError(f"{folder}, stream {name!r}: {error.found}", remedy=remedy) from error
    return built


def fill(model: EncodedModel, folder: Path, absent: list[str]) -> None:
    """Read all weights that are stored, and no others, and let text encoders read their files from the folder.

    Raises:
        CheckpointError: they do not fit.
    """
    for name, stream in model.streams.items():
        if (folder / "streams" / name).is_dir():
            stream.spec.read_from(folder / "streams" / name)
    path = folder / _WEIGHTS
    try:
        state = load_file(path)
    except Exception as error:  # safetensors raises plain Exceptions for broken files
        raise CheckpointError(f"{path} cannot be read: {error};", remedy="copy the checkpoint again.") from error
    left_out = tuple(model.elsewhere(absent))
    wanted = {k for k in model.state_dict() if not k.startswith(left_out)}
    missing, unknown = sorted(wanted - set(state)), sorted(set(state) - wanted)
    if missing or unknown:
        found = f"{path} does not fit its config (missing {missing[:5]}, unknown {unknown[:5]});"
        raise CheckpointError(found, remedy="load it with the version that saved it.")
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[-1].strip()};", remedy="copy the checkpoint again.") from error
