"""ConvNeXt over frames: a grid of tokens for every frame from a convolutional network in a transformer's proportions.

Follows Liu et al., "A ConvNet for the 2020s" (2022) and the hub cards facebook/convnext-*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import ConvNextConfig, ConvNextModel

from unifusion.encoders._hub import backbone_config
from unifusion.encoders._pictures import HALF, Layout, PictureConfig, PictureEncoder, Published

__all__ = ["ConvNeXt"]


class ConvNeXt(PictureEncoder):
    """Frames at about `rate_hz`; tokens row by row. The normalisation behind the average over the grid is applied to each token."""

    config_class = ConvNextConfig
    model_class = ConvNextModel
    published = Published(resample="bicubic", mean=HALF, std=HALF, crop_pct=0.875)

    @dataclass(kw_only=True)
    class Config(PictureConfig):
        """`source` (such as facebook/convnext-tiny-224) or an inline `backbone` of ConvNextConfig keys."""

        image_size: int | None = None
        """Side of the square the network is given; it takes any. None: that of its config."""

    @classmethod
    def tiny(cls) -> Config:
        """Frames of 32 pixels, a grid of 4 x 4, width 16."""
        return cls.Config(backbone={"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}, image_size=32)

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_sizes"][-1])

    @classmethod
    def layout(cls, config: Config) -> Layout:
        """A grid of tokens: the patches of the stem, halved by each stage but the first."""
        shape = backbone_config(config, ConvNextConfig)
        size = int(config.image_size or shape.image_size)
        side = size // int(shape.patch_size)
        for _ in shape.depths[1:]:
            side //= 2
        return Layout(size=(size, size), tokens=side**2)

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, 3, H, W) to tokens (C, grid x grid, D).

        Raises:
            ConfigError: another number of channels or pixels than the encoder prepares.
        """
        network: Any = self.backbone
        grid_CDHW = network(self.fitting(pixel_values)).last_hidden_state
        norm: nn.LayerNorm = network.layernorm
        tokens_CSD: Tensor = norm(grid_CDHW.flatten(2).transpose(1, 2))
        return tokens_CSD
