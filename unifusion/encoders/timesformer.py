"""TimeSformer over frames: attention over time and over the picture in turn, each patch of each frame with its time.

Follows Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?" (2021) and the hub cards facebook/timesformer-*.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import TimesformerConfig, TimesformerModel
from transformers import initialization as init

from unifusion.encoders._hub import backbone_config
from unifusion.encoders._pictures import Layout, PictureConfig, PictureEncoder, Published, pair

__all__ = ["TimeSformer"]


class _Backbone(TimesformerModel):
    """TimesformerModel whose table of times is zero, as published, where a file lacks it; transformers 5.23 leaves it unset then."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise one module; the table of times to zero."""
        super()._init_weights(module)
        if module is self.embeddings and self.embeddings.attention_type != "space_only":
            init.zeros_(self.embeddings.time_embeddings)


class TimeSformer(PictureEncoder):
    """Frames at about `rate_hz`, in chunks of `num_frames`.

    The network gives a class token and then the frames of each patch; tokens here come frame by frame, within a frame patch by patch
    (rows first), without the class token.
    """

    config_class = TimesformerConfig
    model_class = TimesformerModel
    built_class = _Backbone
    published = Published(mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225))

    @dataclass(kw_only=True)
    class Config(PictureConfig):
        """`source` (such as facebook/timesformer-base-finetuned-k400) or an inline `backbone` of TimesformerConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Four frames of 32 pixels a chunk, 4 patches each, width 16, one layer."""
        return cls.Config(
            backbone={
                "image_size": 32, "patch_size": 16, "num_frames": 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                "intermediate_size": 32,
            }
        )  # fmt: skip

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def layout(cls, config: Config) -> Layout:
        """Frames, pixels and patches."""
        shape = backbone_config(config, TimesformerConfig)
        (height, width), (patch_height, patch_width) = pair(shape.image_size), pair(shape.patch_size)
        tokens = (height // patch_height) * (width // patch_width)
        return Layout(size=(height, width), frames=int(shape.num_frames), tokens=tokens)

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, T, 3, H, W) to tokens (C, T x patches, D).

        Raises:
            ConfigError: another number of frames or pixels than the network's tables have.
        """
        layout = self.layout(self.config)
        patches_CSD: Tensor = self.backbone(self.fitting(pixel_values)).last_hidden_state[:, 1:]
        tokens_CSD: Tensor = patches_CSD.unflatten(1, (layout.tokens, layout.frames)).transpose(1, 2).flatten(1, 2)
        return tokens_CSD
