"""A residual convolutional network over frames: a grid of tokens for every frame, or for every few frames stacked.

Follows He et al., "Deep Residual Learning for Image Recognition" (2016) and the hub cards microsoft/resnet-*. Stacking frames on the
channel axis lets the first layer see motion (early fusion, Karpathy et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import ResNetConfig, ResNetModel

from unifusion.conversation import Clip
from unifusion.encoders._hub import backbone_config
from unifusion.encoders._pictures import Layout, PictureConfig, PictureEncoder, Published
from unifusion.encoders.encoder import EncoderInput
from unifusion.errors import ConfigError

__all__ = ["ResNet"]


class ResNet(PictureEncoder):
    """Frames at about `rate_hz`, `stack` of them at a time; tokens row by row.

    A stack is one chunk. The last one is filled by repeating its last frame; its time is the mean of its real frames.
    """

    config_class = ResNetConfig
    model_class = ResNetModel
    published = Published(resample="bicubic", crop_pct=0.875)

    @dataclass(kw_only=True)
    class Config(PictureConfig):
        """`source` (such as microsoft/resnet-18) or an inline `backbone` of ResNetConfig keys, with `num_channels` = 3 x `stack`."""

        stack: int = 1
        """Frames side by side on the channel axis; 1 with published weights."""
        image_size: int = 224
        """Side of the square the network is given; it takes any."""

    @classmethod
    def tiny(cls) -> Config:
        """Two frames of 32 pixels a stack, a grid of 4 x 4."""
        shape = {"num_channels": 6, "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
        return cls.Config(backbone=shape, stack=2, image_size=32)

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_sizes"][-1])

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with nothing left open: `backbone`, and how pictures are prepared.

        Raises:
            ConfigError: the channels are not those of `stack` frames.
        """
        resolved: ResNet.Config = super().resolve(config)
        channels = resolved.backbone["num_channels"]
        if channels != 3 * resolved.stack:
            raise ConfigError(
                f"the network takes {channels} channels, {resolved.stack} frames have {3 * resolved.stack};",
                remedy="set stack to channels / 3.",
            )
        return resolved

    @classmethod
    def layout(cls, config: Config) -> Layout:
        """A grid of tokens a stack: the stem halves twice, each stage but the first once (the first too where it says so)."""
        shape = backbone_config(config, ResNetConfig)
        side = config.image_size
        for _ in range(2 + len(shape.depths) - (0 if shape.downsample_in_first_stage else 1)):
            side = (side + 1) // 2
        return Layout(size=(config.image_size, config.image_size), frames=config.stack, tubelet=config.stack, tokens=side**2)

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Prepare every frame as published and stack them.

        Returns:
            EncoderInput with `pixel_values` (C, 3 x stack, H, W) float32; C stacks.

        Raises:
            MediaError: no frames.
        """
        given = super().preprocess(config, clip)
        pixels = given.tensors["pixel_values"]
        return replace(given, tensors={"pixel_values": pixels if pixels.dim() == 4 else pixels.flatten(1, 2)})

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, 3 x stack, H, W) to tokens (C, grid x grid, D).

        Raises:
            ConfigError: another number of channels or pixels than the network takes.
        """
        layout = self.layout(self.config)
        wanted = (3 * layout.frames, *layout.size)
        if tuple(pixel_values.shape[1:]) != wanted:
            raise ConfigError(
                f"pixel_values are {tuple(pixel_values.shape)}, wanted (C, {', '.join(map(str, wanted))});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        weight: Any = next(self.backbone.parameters())
        grid_CDHW = self.backbone(pixel_values.to(weight.dtype, memory_format=torch.channels_last)).last_hidden_state
        tokens_CSD: Tensor = grid_CDHW.flatten(2).transpose(1, 2)
        return tokens_CSD
