"""VideoMAE over frames: tubelets of two frames by patches, each with its time.

Follows Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners" (2022) and the hub cards MCG-NJU/videomae-*.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEModel

from unifusion.encoders._hub import backbone_config
from unifusion.encoders._pictures import Layout, PictureConfig, PictureEncoder, pair

__all__ = ["VideoMAE"]


class VideoMAE(PictureEncoder):
    """Frames at about `rate_hz`, in chunks of the `num_frames` the network takes (its position table is fixed).

    Tokens come tubelet by tubelet, within a tubelet patch by patch (rows first); all patches of a tubelet carry the mean
    time of its real frames. The decoder of a pre-training checkpoint is not read.
    """

    config_class = VideoMAEConfig
    model_class = VideoMAEModel

    @dataclass(kw_only=True)
    class Config(PictureConfig):
        """`source` (such as MCG-NJU/videomae-base) or an inline `backbone` of VideoMAEConfig keys.

        A small one: `{"image_size": 112, "patch_size": 16, "num_frames": 8, "tubelet_size": 2, "hidden_size": 192,
        "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 768, "use_mean_pooling": False}`
        (without mean pooling the network ends in a LayerNorm, which features want).
        """

    @classmethod
    def tiny(cls) -> Config:
        """Four frames of 32 pixels a chunk, width 16, one layer: 2 tubelets of 4 patches."""
        return cls.Config(
            backbone={
                "image_size": 32, "patch_size": 16, "num_frames": 4, "tubelet_size": 2, "hidden_size": 16,
                "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "use_mean_pooling": False,
            }
        )  # fmt: skip

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def layout(cls, config: Config) -> Layout:
        """Frames, pixels, tubelets and their patches."""
        shape = backbone_config(config, VideoMAEConfig)
        (height, width), (patch_height, patch_width) = pair(shape.image_size), pair(shape.patch_size)
        tokens = (height // patch_height) * (width // patch_width)
        return Layout(size=(height, width), frames=int(shape.num_frames), tubelet=int(shape.tubelet_size), tokens=tokens)

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, T, 3, H, W) to tokens (C, T / tubelet x patches, D).

        Raises:
            ConfigError: another number of frames or pixels than the network's fixed position table has.
        """
        tokens_CSD: Tensor = self.backbone(self.fitting(pixel_values)).last_hidden_state
        return tokens_CSD
