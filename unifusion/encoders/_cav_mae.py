"""Where CAV-MAE's weights come from, for both of its encoders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from unifusion.cav_mae import SHAPE, CAVMAEConfig, CAVMAEModel
from unifusion.encoders._hub import build_backbone, fill, load_pretrained, read_pickle, resolve_backbone

__all__ = ["cav_mae_backbone", "cav_mae_shape"]


def cav_mae_shape(config: Any, stream: str) -> Any:
    """Return `config` with `backbone` complete, of one stream's weights alone; a `.pth` file tells no shape: the published one."""
    if _is_pickle(config.source) and not config.backbone:
        config = replace(config, backbone=dict(SHAPE))
    resolved = resolve_backbone(config, CAVMAEConfig)
    return replace(resolved, backbone={**resolved.backbone, "streams": [stream]})


def cav_mae_backbone(config: Any, *, load_weights: bool) -> nn.Module:
    """Return the network of a resolved config.

    Raises:
        CheckpointError: the source cannot be read, or lacks weights.
    """
    if not (load_weights and config.source):
        return build_backbone(CAVMAEModel, config, CAVMAEConfig)
    if _is_pickle(config.source):
        tensors = {k.removeprefix("module."): v for k, v in read_pickle(config.source).items()}
        return fill(build_backbone(CAVMAEModel, config, CAVMAEConfig), tensors, config.source)
    return load_pretrained(CAVMAEModel, config, options={"config": CAVMAEConfig.from_dict(dict(config.backbone))})


def _is_pickle(source: str | None) -> bool:
    """Whether a source is one file of weights as PyTorch saves them."""
    return source is not None and Path(source).suffix in (".pt", ".pth", ".bin")
