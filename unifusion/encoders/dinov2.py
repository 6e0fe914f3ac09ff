"""DINOv2 over frames: patches learnt without labels, strong where places and parts count.

Follows Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (2023) and the hub cards facebook/dinov2-*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from transformers import Dinov2Config, Dinov2Model

from unifusion.encoders._pictures import Published
from unifusion.encoders._vits import VitConfig, VitEncoder

__all__ = ["DINOv2"]


class DINOv2(VitEncoder):
    """Frames through DINOv2's vision transformer.

    Published weights hold positions for 518 pixels and are used at 224 (the source's preprocessor_config.json says so); the network
    interpolates them by itself.
    """

    config_class = Dinov2Config
    model_class = Dinov2Model
    published = Published(resample="bicubic")
    layers = "encoder.layer"
    last_norm = "layernorm"
    any_size = True

    @dataclass(kw_only=True)
    class Config(VitConfig):
        """`source` (such as facebook/dinov2-base) or an inline `backbone` of Dinov2Config keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Frames of 32 pixels, 4 patches, width 16, two layers."""
        return cls.Config(
            backbone={
                "image_size": 32, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
            }
        )  # fmt: skip

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with nothing left open; the network without the token that stood for hidden patches in its training."""
        resolved = super().resolve(config)
        return replace(resolved, backbone={**resolved.backbone, "use_mask_token": False})
