"""Where an encoder's network comes from: a hub name, a local folder, or an inline description. Written once for all encoders."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unifusion.errors import CheckpointError, ConfigError, nearest

__all__ = ["backbone_config", "build_backbone", "fill", "hold_layer", "load_half", "load_pretrained", "preprocessing_of", "read_config",
           "read_pickle", "resolve_backbone"]  # fmt: skip

log = logging.getLogger(__name__)
NOT_KEPT = frozenset({"_name_or_path", "transformers_version", "dtype", "torch_dtype", "id2label", "label2id"})
"""Keys of a transformers config that say nothing about the network's shape."""


def resolve_backbone(config: Any, config_class: Any) -> Any:
    """Return `config` with `backbone` complete: read from `source`'s config.json, or checked and filled with defaults.

    Args:
        config: an `Encoder.Config`.
        config_class: the transformers config class of the network.

    Raises:
        CheckpointError: `source` has no readable config.json.
        ConfigError: neither source nor backbone, another kind of network, or an unknown key.
    """
    known = _defaults(config_class)
    if config.backbone:
        given = config.backbone
        unknown = sorted(set(given) - set(known) - NOT_KEPT)
        if unknown:
            raise ConfigError(f"no key {unknown[0]!r} in a {config_class.model_type} backbone;", remedy=nearest(unknown[0], list(known)))
    elif config.source:
        given = read_config(config.source, config.revision, config_class)
    else:
        raise ConfigError(f"a {config_class.model_type} encoder needs weights or a shape;", remedy="set `source` or `backbone`.")
    if given.get("model_type", config_class.model_type) != config_class.model_type:
        raise ConfigError(
            f"the network is a {given['model_type']!r}, wanted {config_class.model_type!r};",
            remedy="name the encoder that fits it (`unifusion list encoders`).",
        )
    full = {**known, **config_class.from_dict(dict(given)).to_dict()}
    return replace(config, backbone={k: v for k, v in full.items() if k in known and k not in NOT_KEPT})


@lru_cache
def _defaults(config_class: Any) -> dict[str, Any]:
    """Every key of a transformers config class with its default."""
    made: dict[str, Any] = config_class().to_dict()
    return made


def read_config(source: str, revision: str | None, config_class: Any) -> dict[str, Any]:
    """Return config.json of a hub name or folder.

    Raises:
        CheckpointError: there is none, or it cannot be read.
    """
    try:
        given: dict[str, Any] = config_class.get_config_dict(source, revision=revision)[0]
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot read the config of {source!r}: {_first_line(error)};",
            remedy="check the name, or download it while online and give the folder.",
        ) from error
    return given


def preprocessing_of(read: Callable[..., Any], source: str | None, revision: str | None) -> dict[str, Any]:
    """Return preprocessor_config.json of a source, empty without one: no source, weights alone, or a folder that a model was saved to.

    Args:
        read: `get_image_processor_dict` or `get_feature_extractor_dict` of the family's class.
        source: hub name, folder or file of weights.
        revision: of the hub name.
    """
    if source is None or Path(source).is_file():
        return {}
    try:
        found: dict[str, Any] = read(source, revision=revision)[0]
    except OSError:
        log.warning("%s has no preprocessor_config.json; what it is given is prepared as its family's is", source)
        return {}
    return found


def hold_layer(layer: int, depth: int) -> None:
    """Refuse a layer that a network of `depth` layers has not, counted from the last.

    Raises:
        ConfigError: names those it has.
    """
    if not -depth <= layer <= -1:
        raise ConfigError(f"layer {layer} of a network of {depth};", remedy=f"count from the last: -1 (the last) to {-depth} (the first).")


def backbone_config(config: Any, config_class: Any) -> Any:
    """Return the transformers config object of a resolved encoder config; the same object for equal content: do not change it."""
    if not config.backbone:
        raise ConfigError("the encoder's config is not resolved (its `backbone` is empty);", remedy="call Encoder.resolve(config) first.")
    return _config_object(config_class, json.dumps(config.backbone, sort_keys=True))


@lru_cache(maxsize=64)
def _config_object(config_class: Any, text: str) -> Any:
    """Make a config object once per content; `preprocess` asks for it for every clip."""
    return config_class.from_dict(json.loads(text))


def build_backbone(model_class: Any, config: Any, config_class: Any, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Return `model_class` with random weights, in the shape of the resolved `config`; `options` go to its constructor."""
    network: nn.Module = model_class(config_class.from_dict(dict(config.backbone)), **(options or {}))
    return network


def load_pretrained(model_class: Any, config: Any, *, needed: str = "", options: Mapping[str, Any] | None = None) -> nn.Module:
    """Return `model_class` with the weights of `config.source`, in float32 and from safetensors only.

    Args:
        model_class: the transformers class to read the checkpoint with.
        config: an `Encoder.Config` with a source.
        needed: prefix of the weights that must all be in the checkpoint (the rest of the class is thrown away).
        options: to `from_pretrained`.

    Raises:
        CheckpointError: the source cannot be read, or lacks weights or holds them in another shape.
    """
    try:
        network, info = model_class.from_pretrained(
            config.source,
            revision=config.revision,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **(options or {}),
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"cannot load the weights of {config.source!r}: {_first_line(error)};",
            remedy="give a hub name or folder with model.safetensors (a pickle is converted by save_pretrained while online).",
        ) from error
    missing = sorted(key for key in info["missing_keys"] if key.startswith(needed))
    if missing:
        shown = ", ".join(missing[:5]) + (" .." if len(missing) > 5 else "")
        raise CheckpointError(
            f"{config.source!r} lacks {len(missing)} weights of {model_class.__name__}: {shown};",
            remedy="it is another kind of model, or an incomplete save.",
        )
    loaded: nn.Module = network
    return loaded


def _first_line(error: Exception) -> str:
    """The first line of an error that may run over many."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def load_half(whole_class: Any, alone_class: Any, config: Any, *, key: str, part: str) -> nn.Module:
    """Return one half of a two-sided model, from a checkpoint of the whole or of that half alone.

    Args:
        whole_class: the transformers class of both halves.
        alone_class: that of the wanted half.
        config: an `Encoder.Config` with a source.
        key: of the half's shape in the whole's config.json.
        part: name of the half in the whole.

    Raises:
        CheckpointError: as `load_pretrained`.
    """
    if key in read_config(config.source, config.revision, alone_class.config_class):
        return load_pretrained(whole_class, config, needed=f"{part}.").get_submodule(part)
    return load_pretrained(alone_class, config)


def read_pickle(source: str) -> dict[str, Any]:
    """Return what a `.pt` or `.pth` file of another project holds, read by PyTorch's restricted unpickler: tensors and plain values only.

    Raises:
        CheckpointError: there is no such file, or it holds objects of other kinds.
    """
    try:
        found = torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except Exception as error:  # whatever strange bytes raise in an unpickler
        raise CheckpointError(
            f"cannot read {source!r} without running code in it: {_first_line(error)};",
            remedy="check the file; weights and plain values alone are read.",
        ) from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{source!r} holds a {type(found).__name__}, wanted names and tensors;", remedy="save its state_dict().")
    return found


def fill(network: nn.Module, tensors: Mapping[str, Any], source: str) -> nn.Module:
    """Return `network` with all of its weights taken from `tensors`; what else is there is not read.

    Raises:
        CheckpointError: a weight is missing or of another shape.
    """
    own = network.state_dict()
    missing = [k for k in own if k not in tensors]
    other = [k for k in own if k in tensors and own[k].shape != tensors[k].shape]
    if missing or other:
        shown = [*missing, *(f"{k} {tuple(tensors[k].shape)} instead of {tuple(own[k].shape)}" for k in other)]
        raise CheckpointError(
            f"{source!r} lacks {len(missing)} weights of the network and has {len(other)} of another shape: {', '.join(shown[:5])};",
            remedy="it is another kind of model, or give the shape it was trained in as `backbone`.",
        )
    network.load_state_dict({k: tensors[k].to(own[k].dtype) for k in own})
    return network
