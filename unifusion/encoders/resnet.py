"""A residual convolutional network over frames: a grid of tokens for every frame, or for every few frames stacked.

Follows He et al., "Deep Residual Learning for Image Recognition" (2016) and the hub cards microsoft/resnet-*. Stacking frames on the
channel axis lets the first layer see motion (early fusion, Karpathy et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from unifusion.conversation import Clip
from unifusion.encoders._hub import backbone_config, build_backbone, load_pretrained, resolve_backbone
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError, MediaError

__all__ = ["ResNet"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResNet(Encoder):
    """Frames at about `rate_hz`, `stack` of them at a time, squashed to a square; tokens row by row.

    A stack is one chunk. The last one is filled by repeating its last frame; its time is the mean of its real frames.
    """

    @dataclass(kw_only=True)
    class Config(Encoder.Config):
        """`source` (such as microsoft/resnet-18) or an inline `backbone` of ResNetConfig keys, with `num_channels` = 3 x `stack`."""

        rate_hz: float = 4.0
        """Frames per second that are sampled."""
        stack: int = 1
        """Frames side by side on the channel axis; 1 with published weights."""
        image_size: int = 224
        """Side of the square the frame is resized to."""
        image_mean: tuple[float, ...] = IMAGENET_MEAN
        image_std: tuple[float, ...] = IMAGENET_STD

    modality = "video"

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
        """Return `config` with `backbone` complete.

        Raises:
            ConfigError: the channels are not those of `stack` frames.
        """
        resolved: ResNet.Config = resolve_backbone(config, ResNetConfig)
        channels = resolved.backbone["num_channels"]
        if channels != 3 * resolved.stack:
            raise ConfigError(
                f"the network takes {channels} channels, {resolved.stack} frames have {3 * resolved.stack};",
                remedy="set stack to channels / 3.",
            )
        return replace(resolved, image_mean=tuple(resolved.image_mean), image_std=tuple(resolved.image_std))

    @classmethod
    def rate_hz(cls, config: Config) -> float:
        """Frames per second."""
        return float(config.rate_hz)

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the network without its classifier."""
        if load_weights and config.source:
            return load_pretrained(ResNetModel, config)
        return build_backbone(ResNetModel, config, ResNetConfig)

    @classmethod
    def grid(cls, config: Config) -> int:
        """Tokens along one side: the stem halves twice, each stage but the first once (the first too where it says so)."""
        shape = backbone_config(config, ResNetConfig)
        halvings = 2 + len(shape.depths) - (0 if shape.downsample_in_first_stage else 1)
        side = config.image_size
        for _ in range(halvings):
            side = (side + 1) // 2
        return side

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Resize (Pillow's bilinear), scale, normalise and stack every frame.

        Returns:
            EncoderInput with `pixel_values` (C, 3 x stack, H, W) float32; C stacks.

        Raises:
            MediaError: no frames.
        """
        if clip.frames_THWC is None or clip.frame_times_s is None or not len(clip.frames_THWC):
            raise MediaError("the clip has no picture;", remedy="leave the video stream out, or give a file with a picture.")
        size, real = config.image_size, len(clip.frames_THWC)
        stacks = -(-real // config.stack)
        resized = np.stack([f if f.shape[:2] == (size, size) else _resize(f, size) for f in clip.frames_THWC])
        mean, std = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (config.image_mean, config.image_std))
        pixels_TCHW = torch.from_numpy(resized).permute(0, 3, 1, 2).contiguous().float().div_(255.0).sub_(mean).div_(std)
        missing = stacks * config.stack - real
        filled_TCHW = torch.cat([pixels_TCHW, pixels_TCHW[-1:].expand(missing, -1, -1, -1)]) if missing else pixels_TCHW
        times_T = torch.from_numpy(np.asarray(clip.frame_times_s, np.float64))
        own = [times_T[i : i + config.stack].mean() for i in range(0, real, config.stack)]
        tokens = cls.grid(config) ** 2
        shown = float(times_T[-1] - times_T[0]) + 1.0 / config.rate_hz
        return EncoderInput(
            tensors={"pixel_values": filled_TCHW.reshape(stacks, 3 * config.stack, size, size)},
            times_S=torch.stack(own).float().repeat_interleave(tokens),
            mask_S=torch.ones(stacks * tokens, dtype=torch.bool),
            seconds=min(shown, clip.duration_s) if clip.duration_s else shown,
            frames=real,
        )

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, 3 x stack, H, W) to tokens (C, grid x grid, D)."""
        wanted = (3 * self.config.stack, self.config.image_size, self.config.image_size)
        if tuple(pixel_values.shape[1:]) != wanted:
            raise ConfigError(
                f"pixel_values are {tuple(pixel_values.shape)}, wanted (C, {', '.join(map(str, wanted))});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        weight: Any = next(self.backbone.parameters())
        grid_CDHW = self.backbone(pixel_values.to(weight.dtype, memory_format=torch.channels_last)).last_hidden_state
        tokens_CSD: Tensor = grid_CDHW.flatten(2).transpose(1, 2)
        return tokens_CSD


def _resize(frame_HWC: np.ndarray, size: int) -> np.ndarray:
    """Squash a frame to a square by Pillow's bilinear filter."""
    return np.asarray(Image.fromarray(frame_HWC).resize((size, size), Image.Resampling.BILINEAR))
