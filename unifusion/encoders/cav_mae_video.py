"""CAV-MAE's way for pictures alone: patches of single frames whose states were trained beside sound.

Follows Gong et al., "Contrastive Audio-Visual Masked Autoencoder" (2023); see `cav_mae`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from unifusion.cav_mae import CAVMAEConfig
from unifusion.encoders._cav_mae import cav_mae_backbone, cav_mae_shape
from unifusion.encoders._hub import backbone_config
from unifusion.encoders._pictures import Layout, PictureConfig, PictureEncoder, Published

__all__ = ["CAVMAEVideo"]


class CAVMAEVideo(PictureEncoder):
    """Frames at about `rate_hz` (the published weights saw one of ten seconds); patches row by row."""

    published = Published(resample="bicubic")

    @dataclass(kw_only=True)
    class Config(PictureConfig):
        """`source`: a `.pth` file of the published weights, or a folder written by `save_pretrained`; or an inline `backbone` of
        `unifusion.cav_mae.SHAPE` keys."""  # fmt: skip

    @classmethod
    def tiny(cls) -> Config:
        """Frames of 32 pixels, 4 patches, width 16, one layer and one shared."""
        shape = {"hidden_size": 16, "num_attention_heads": 2, "mlp_ratio": 2, "video_layers": 1, "image_size": 32}
        return cls.Config(backbone=shape)

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with nothing left open.

        Raises:
            CheckpointError: the source has no readable config.
            ConfigError: an unknown key.
        """
        resolved: CAVMAEVideo.Config = cav_mae_shape(config, "video")
        return resolved.prepared(cls.layout(resolved).size, cls.published)

    @classmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the weights that pictures alone go through."""
        return cav_mae_backbone(config, load_weights=load_weights)

    @classmethod
    def layout(cls, config: Config) -> Layout:
        """One frame a chunk, and its patches."""
        shape = backbone_config(config, CAVMAEConfig)
        rows, columns = shape.grids["video"]
        return Layout(size=(int(shape.image_size), int(shape.image_size)), tokens=rows * columns)

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, 3, H, W) to tokens (C, patches, D).

        Raises:
            ConfigError: another size than the network's positions have.
        """
        tokens_CSD: Tensor = self.backbone(pixel_values=self.fitting(pixel_values))
        return tokens_CSD
