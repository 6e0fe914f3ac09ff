"""SigLIP's picture half over frames: patches trained against captions by a sigmoid loss; it has no class token.

Follows Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023) and the hub cards google/siglip-*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from transformers import SiglipVisionConfig, SiglipVisionModel

from unifusion.encoders._pictures import HALF, Published
from unifusion.encoders._vits import VitConfig, VitEncoder

__all__ = ["SigLIP"]


class SigLIP(VitEncoder):
    """Frames through SigLIP's vision transformer; the attention pooling behind it is not read."""

    config_class = SiglipVisionConfig
    model_class = SiglipVisionModel
    part = "vision_config"
    published = Published(resample="bicubic", mean=HALF, std=HALF, crop="squash")
    layers = "encoder.layers"
    last_norm = "post_layernorm"
    class_token = False

    @dataclass(kw_only=True)
    class Config(VitConfig):
        """`source` (such as google/siglip-so400m-patch14-384) or an inline `backbone` of SiglipVisionConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Frames of 32 pixels, 4 patches, width 16, two layers."""
        return cls.Config(
            backbone={
                "image_size": 32, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 32,
            }
        )  # fmt: skip

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with nothing left open; the network without its pooling head."""
        resolved = super().resolve(config)
        return replace(resolved, backbone={**resolved.backbone, "vision_use_head": False})
