"""CLIP's picture half over frames: patches whose states were trained against captions.

Follows Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021) and the hub cards openai/clip-vit-*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from unifusion.encoders._pictures import CLIP_MEAN, CLIP_STD, Published
from unifusion.encoders._vits import VitConfig, VitEncoder

__all__ = ["CLIP"]


class CLIP(VitEncoder):
    """Frames through CLIP's vision transformer. States are those of the layers: its last normalisation, made for the class token
    and the projection behind it, is not applied."""  # fmt: skip

    config_class = CLIPVisionConfig
    model_class = CLIPVisionModel
    part = "vision_config"
    published = Published(resample="bicubic", mean=CLIP_MEAN, std=CLIP_STD)
    layers = "encoder.layers"
    last_norm = "post_layernorm"

    @dataclass(kw_only=True)
    class Config(VitConfig):
        """`source` (such as openai/clip-vit-large-patch14-336, of whose whole model the picture half is read) or an inline `backbone` of
        CLIPVisionConfig keys."""  # fmt: skip

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
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the picture half without its last normalisation."""
        network = super().make_backbone(config, load_weights=load_weights)
        network.set_submodule(cls.last_norm, nn.Identity())
        return network
