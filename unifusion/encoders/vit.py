"""ViT over frames: patches of an image classifier, or of a masked autoencoder saved in its form.

Follows Dosovitskiy et al., "An Image is Worth 16x16 Words" (2020) and the hub cards google/vit-*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from transformers import ViTConfig as Shape
from transformers import ViTModel

from unifusion.encoders._pictures import HALF, Published
from unifusion.encoders._vits import VitConfig, VitEncoder

__all__ = ["ViT"]


class ViT(VitEncoder):
    """Frames through a vision transformer; classifiers and poolers are not read."""

    config_class = Shape
    model_class = ViTModel
    options: ClassVar[dict[str, Any]] = {"add_pooling_layer": False}
    published = Published(mean=HALF, std=HALF, crop="squash")
    layers = "layers"
    last_norm = "layernorm"

    @dataclass(kw_only=True)
    class Config(VitConfig):
        """`source` (such as google/vit-base-patch16-224) or an inline `backbone` of ViTConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Frames of 32 pixels, 4 patches, width 16, two layers."""
        return cls.Config(
            backbone={
                "image_size": 32, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 32,
            }
        )  # fmt: skip
