"""X-CLIP's picture half over frames: CLIP's transformer in which the frames of a chunk pass messages to each other.

Follows Ni et al., "Expanding Language-Image Pretrained Models for General Video Recognition" (2022) and the hub cards microsoft/xclip-*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import XCLIPModel, XCLIPVisionConfig, XCLIPVisionModel

from unifusion.encoders._hub import backbone_config, load_half
from unifusion.encoders._pictures import Layout, PictureConfig, PictureEncoder, Published, pair

__all__ = ["XCLIP"]


class XCLIP(PictureEncoder):
    """Frames at about `rate_hz`, in chunks of `num_frames`; patches frame by frame, rows first.

    The last normalisation, made for the class token, and the transformer over whole frames behind it are not read.
    """

    config_class = XCLIPVisionConfig
    model_class = XCLIPVisionModel
    part = "vision_config"
    published = Published()

    @dataclass(kw_only=True)
    class Config(PictureConfig):
        """`source` (such as microsoft/xclip-base-patch32) or an inline `backbone` of XCLIPVisionConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Four frames of 32 pixels a chunk, 4 patches each, width 16, two layers."""
        return cls.Config(
            backbone={
                "image_size": 32, "patch_size": 16, "num_frames": 4, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 32, "mit_hidden_size": 16, "mit_intermediate_size": 32, "mit_num_attention_heads": 2,
                "mit_num_hidden_layers": 1,
            }
        )  # fmt: skip

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def layout(cls, config: Config) -> Layout:
        """Frames, pixels and patches."""
        shape = backbone_config(config, XCLIPVisionConfig)
        side = int(shape.image_size) // int(shape.patch_size)
        return Layout(size=pair(shape.image_size), frames=int(shape.num_frames), tokens=side**2)

    @classmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the picture half, of a whole model or saved by itself, without its last normalisation."""
        if load_weights and config.source:
            network = load_half(XCLIPModel, XCLIPVisionModel, config, key=cls.part, part="vision_model")
        else:
            network = super().make_backbone(config, load_weights=load_weights)
        network.set_submodule("post_layernorm", nn.Identity())
        return network

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, T, 3, H, W) to tokens (C, T x patches, D).

        Raises:
            ConfigError: another number of frames or pixels than the network's tables have.
        """
        fitting = self.fitting(pixel_values)
        states_FSD: Tensor = self.backbone(fitting.flatten(0, 1)).last_hidden_state
        tokens_CSD: Tensor = states_FSD[:, 1:].unflatten(0, fitting.shape[:2]).flatten(1, 2)
        return tokens_CSD
