"""VideoMAE over frames: tubelets of two frames by patches, each with its time.

Follows Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners" (2022) and the hub cards MCG-NJU/videomae-*.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEModel

from unifusion.conversation import Clip
from unifusion.encoders._hub import backbone_config, build_backbone, load_pretrained, resolve_backbone
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError, MediaError

__all__ = ["VideoMAE"]

log = logging.getLogger(__name__)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class VideoMAE(Encoder):
    """Frames at about `rate_hz`, in chunks of the `num_frames` the network takes (its position table is fixed).

    Tokens come tubelet by tubelet, within a tubelet patch by patch (rows first); all patches of a tubelet carry the mean
    time of its real frames. The last chunk is filled by repeating the last frame; tubelets of nothing but such frames are
    masked out.
    """

    @dataclass(kw_only=True)
    class Config(Encoder.Config):
        """`source` (such as MCG-NJU/videomae-base) or an inline `backbone` of VideoMAEConfig keys.

        A small one: `{"image_size": 112, "patch_size": 16, "num_frames": 8, "tubelet_size": 2, "hidden_size": 192,
        "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 768, "use_mean_pooling": False}`
        (without mean pooling the network ends in a LayerNorm, which features want).
        """

        rate_hz: float = 4.0
        """Frames per second that are sampled."""
        crop: Literal["center", "squash"] | None = None
        """`center`, the published way: the shorter side to `short_side`, the middle square cut out, so the sides of a wide
        picture are lost. `squash`: the whole frame resized to the square. None: center with a source, squash without."""
        short_side: int | None = None
        """Pixels of the shorter side before a centre crop; None is the network's image size, as published."""
        image_mean: tuple[float, ...] | None = None
        image_std: tuple[float, ...] | None = None
        """Per colour; None takes the source's preprocessor_config.json, else ImageNet's, as VideoMAE was trained."""

    modality = "video"

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
    def resolve(cls, config: Config) -> Config:
        """Return `config` with nothing left open: `backbone`, `crop`, `short_side`, `image_mean` and `image_std`."""
        resolved: VideoMAE.Config = resolve_backbone(config, VideoMAEConfig)
        mean, std = resolved.image_mean, resolved.image_std
        if (mean is None or std is None) and resolved.source:
            published = _published_preprocessing(resolved.source, resolved.revision)
            mean, std = mean or published.get("image_mean"), std or published.get("image_std")
        height, width = _image_size(resolved)
        return replace(
            resolved,
            crop=resolved.crop or ("center" if resolved.source else "squash"),
            short_side=resolved.short_side or max(height, width),
            image_mean=tuple(mean or IMAGENET_MEAN),
            image_std=tuple(std or IMAGENET_STD),
        )

    @classmethod
    def rate_hz(cls, config: Config) -> float:
        """Frames per second."""
        return float(config.rate_hz)

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the encoder; the decoder of a pre-training checkpoint is not read."""
        if load_weights and config.source:
            return load_pretrained(VideoMAEModel, config)
        return build_backbone(VideoMAEModel, config, VideoMAEConfig)

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Resize, crop, scale and normalise every frame, then cut them into chunks.

        The arithmetic is VideoMAEImageProcessorPil's (Pillow's bilinear resize on bytes, then floats); `crop="squash"` differs
        from it in taking the whole frame.

        Returns:
            EncoderInput with `pixel_values` (C, num_frames, 3, H, W) float32.

        Raises:
            MediaError: no frames.
        """
        if clip.frames_THWC is None or clip.frame_times_s is None or not len(clip.frames_THWC):
            raise MediaError("the clip has no picture;", remedy="leave the video stream out, or give a file with a picture.")
        shape = backbone_config(config, VideoMAEConfig)
        n_frames, n_real, tubelet = int(shape.num_frames), len(clip.frames_THWC), int(shape.tubelet_size)
        n_chunks = -(-n_real // n_frames)
        pixels_TCHW = _pixels(config, clip.frames_THWC)
        source_T = torch.arange(n_chunks * n_frames)
        height, width = _image_size(config)
        patch_height, patch_width = _pair(shape.patch_size)
        patches = (height // patch_height) * (width // patch_width)
        times_T, mask_T = _tubelet_times(torch.from_numpy(np.asarray(clip.frame_times_s, np.float64)), n_chunks * n_frames, tubelet)
        return EncoderInput(
            tensors={"pixel_values": pixels_TCHW[source_T.clamp(max=n_real - 1)].unflatten(0, (n_chunks, n_frames))},
            times_S=times_T.repeat_interleave(patches),
            mask_S=mask_T.repeat_interleave(patches),
            seconds=_seconds_shown(clip, config.rate_hz),
            frames=n_real,
        )

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, T, 3, H, W) to tokens (C, T / tubelet x patches, D).

        Raises:
            ConfigError: another number of frames or pixels than the network's fixed position table has.
        """
        wanted = (self.config.backbone["num_frames"], self.config.backbone["num_channels"], *_image_size(self.config))
        if tuple(pixel_values.shape[1:]) != wanted:
            raise ConfigError(
                f"pixel_values (C, T, 3, H, W) are {tuple(pixel_values.shape)}, wanted (C, {', '.join(map(str, wanted))});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        patches: Any = self.backbone.embeddings.patch_embeddings.projection  # type: ignore[union-attr]
        tokens_CSD: Tensor = self.backbone(pixel_values.to(patches.weight.dtype)).last_hidden_state
        return tokens_CSD


def _image_size(config: VideoMAE.Config) -> tuple[int, int]:
    """Height and width the network takes."""
    return _pair(config.backbone["image_size"])


def _pair(size: Any) -> tuple[int, int]:
    """Height and width from one number or two."""
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _published_preprocessing(source: str, revision: str | None) -> dict[str, Any]:
    """Return preprocessor_config.json of a source, empty when it has none (a folder written by save_pretrained of a model)."""
    from transformers import VideoMAEImageProcessorPil

    try:
        found: dict[str, Any] = VideoMAEImageProcessorPil.get_image_processor_dict(source, revision=revision)[0]
    except OSError:
        log.warning("%s has no preprocessor_config.json; its pictures are normalised by ImageNet's mean and deviation", source)
        return {}
    return found


def _pixels(config: VideoMAE.Config, frames_THWC: np.ndarray) -> Tensor:
    """Return frames (T, H, W, 3) of bytes as pixels (T, 3, H', W') as the network takes them."""
    height, width = _image_size(config)
    resized = np.stack([_fit(frame, height, width, config) for frame in frames_THWC])
    pixels_TCHW = torch.from_numpy(resized).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (config.image_mean, config.image_std))
    return ((pixels_TCHW - mean) / std).contiguous()


def _fit(frame_HWC: np.ndarray, height: int, width: int, config: VideoMAE.Config) -> np.ndarray:
    """Resize one frame of bytes to (height, width), by squashing or by a centre crop."""
    image = Image.fromarray(frame_HWC)
    if config.crop == "squash":
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    short = config.short_side or max(height, width)
    if short < max(height, width):
        raise ConfigError(f"short_side is {short}, below the network's {height} x {width};", remedy="set it to the image size or more.")
    shorter = min(image.width, image.height)
    scaled = (int(short * image.width / shorter), int(short * image.height / shorter))
    pixels = np.asarray(image.resize(scaled, Image.Resampling.BILINEAR))
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _tubelet_times(times_T: Tensor, n_frames: int, tubelet: int) -> tuple[Tensor, Tensor]:
    """Return (times, mask) of tubelets over `n_frames` frames of which the first `len(times_T)` are real.

    A tubelet's time is the mean of its real frames; one without any takes the last frame's time and is masked out.
    """
    n_real = len(times_T)
    real_KT = (torch.arange(n_frames) < n_real).view(-1, tubelet)
    padded_KT = torch.nn.functional.pad(times_T, (0, n_frames - n_real), value=float(times_T[-1])).view(-1, tubelet)
    counts_K = real_KT.sum(dim=1)
    mean_K = (padded_KT * real_KT).sum(dim=1) / counts_K.clamp(min=1)
    return torch.where(counts_K > 0, mean_K, times_T[-1]).float(), counts_K > 0


def _seconds_shown(clip: Clip, rate_hz: float) -> float:
    """Seconds the frames stand for: to the last frame and one step more, no longer than the clip."""
    times = clip.frame_times_s
    if times is None or len(times) < 2:
        return min(clip.duration_s or 1.0 / rate_hz, 1.0 / rate_hz)
    shown = float(times[-1] - times[0]) + 1.0 / rate_hz
    return min(shown, clip.duration_s) if clip.duration_s else shown
