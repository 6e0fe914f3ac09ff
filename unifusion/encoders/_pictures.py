"""What the picture encoders share: the published way from frames of bytes to normalised pixels. Written once for all encoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from unifusion.conversation import Clip
from unifusion.encoders._hub import build_backbone, load_pretrained, preprocessing_of, read_config, resolve_backbone
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError, MediaError

__all__ = ["CLIP_MEAN", "CLIP_STD", "HALF", "Layout", "PictureConfig", "PictureEncoder", "Published", "pair", "published_of"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)
Filter = Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"]
_FILTERS: tuple[Filter, ...] = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""In the order of Pillow's numbers, which preprocessor_config.json holds."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """How the authors of a family prepare pictures, where a source does not say otherwise.

    Attributes:
        resample: Pillow's filter.
        mean, std: per colour, of pixels in 0 .. 1.
        crop: `center` (shorter side to `short_side`, middle square) or `squash` (whole picture to the square).
        crop_pct: image size over shorter side before the crop (ConvNeXt); None where the two are equal or the file tells.
    """

    resample: Filter = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop: Literal["center", "squash"] = "center"
    crop_pct: float | None = None


@dataclass(kw_only=True)
class PictureConfig(Encoder.Config):
    """How frames are sampled and prepared. What is None is taken from the source's preprocessor_config.json, as published."""

    rate_hz: float = 4.0
    """Frames per second that are sampled."""
    crop: Literal["center", "squash"] | None = None
    """`center`: the shorter side to `short_side`, the middle square cut out, so the sides of a wide picture are lost. `squash`: the
    whole frame resized to the square. None: as published with a source, squash without."""
    short_side: int | None = None
    """Pixels of the shorter side before a centre crop; None: as published, or the network's image size."""
    resample: Filter | None = None
    """Pillow's filter; None: as published, or bilinear."""
    image_mean: tuple[float, ...] | None = None
    image_std: tuple[float, ...] | None = None
    """Per colour, of pixels in 0 .. 1."""

    def prepared(self, size: tuple[int, int], published: Published) -> Self:
        """Return the config with nothing left open, for a network that takes (height, width) pixels.

        Raises:
            ConfigError: an unknown filter or crop, or a shorter side below the image size.
        """
        settled = (self.crop, self.short_side, self.resample, self.image_mean, self.image_std)
        told = published_of(self) if None in settled else {}
        crop, short = _cut(told, published, max(size))
        code = told.get("resample")
        full = replace(
            self,
            crop=self.crop or (crop if self.source else "squash"),
            short_side=self.short_side or (short if self.source else max(size)),
            resample=self.resample or (_FILTERS[code] if isinstance(code, int) else published.resample if self.source else "bilinear"),
            image_mean=tuple(self.image_mean or told.get("image_mean") or published.mean),
            image_std=tuple(self.image_std or told.get("image_std") or published.std),
        )
        if full.resample not in _FILTERS or full.crop not in ("center", "squash"):
            raise ConfigError(
                f"resample is {full.resample!r} and crop {full.crop!r};", remedy=f"known: {', '.join(_FILTERS)}; center, squash."
            )
        if (full.short_side or 0) < max(size):
            raise ConfigError(
                f"short_side is {full.short_side}, below the network's {size[0]} x {size[1]};", remedy="set it to the image size or more."
            )
        return full


def published_of(config: PictureConfig) -> dict[str, Any]:
    """Return how a source's pictures are prepared, as it says."""
    from transformers import CLIPImageProcessorPil

    return preprocessing_of(CLIPImageProcessorPil.get_image_processor_dict, config.source, config.revision)


def _cut(told: Mapping[str, Any], published: Published, size: int) -> tuple[Literal["center", "squash"], int]:
    """How a source's preprocessor_config.json cuts the square of `size`: the crop, and the shorter side before it.

    Three forms are in use: a shorter side and a crop (CLIP, DINOv2), a square alone (ViT, SigLIP), and ConvNeXt's fraction, which
    crops below 384 pixels only.
    """
    fraction = told.get("crop_pct", published.crop_pct)
    given = told.get("size")
    side = given.get("shortest_edge") if isinstance(given, Mapping) else given if isinstance(given, int) else None
    if fraction is not None:
        edge = side or size
        return ("center", int(edge / fraction)) if edge < 384 else ("squash", size)
    if isinstance(given, Mapping) and side is None:
        return "squash", size
    return ("center", int(side or size)) if told.get("do_center_crop", published.crop == "center") else ("squash", size)


def pair(size: Any) -> tuple[int, int]:
    """Height and width from one number or two."""
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def frames_of(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Return the clip's frames (T, H, W, 3) uint8 and their seconds (T,) float64.

    Raises:
        MediaError: there are none.
    """
    if clip.frames_THWC is None or clip.frame_times_s is None or not len(clip.frames_THWC):
        raise MediaError("the clip has no picture;", remedy="leave the video stream out, or give a file with a picture.")
    return clip.frames_THWC, np.asarray(clip.frame_times_s, np.float64)


def pixels(config: PictureConfig, frames_THWC: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Return frames (T, H, W, 3) of bytes as float32 pixels (T, 3, height, width), resized by Pillow and normalised.

    The arithmetic is that of the `...ImageProcessorPil` classes of transformers: resize and crop on bytes, then floats.
    """
    resized = np.stack([_fit(frame, size, config) for frame in frames_THWC])
    mean, std = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (config.image_mean, config.image_std))
    return torch.from_numpy(resized).permute(0, 3, 1, 2).contiguous().float().div_(255.0).sub_(mean).div_(std)


def _fit(frame_HWC: np.ndarray, size: tuple[int, int], config: PictureConfig) -> np.ndarray:
    """Resize one frame of bytes to (height, width), by squashing or by a centre crop."""
    height, width = size
    resample = Image.Resampling(_FILTERS.index(config.resample or "bilinear"))
    if config.crop == "squash":
        if frame_HWC.shape[:2] == size:
            return frame_HWC
        return np.asarray(Image.fromarray(frame_HWC).resize((width, height), resample))
    image = Image.fromarray(frame_HWC)
    short, shorter = config.short_side or max(size), min(image.width, image.height)
    scaled = (int(short * image.width / shorter), int(short * image.height / shorter))
    bytes_HWC = np.asarray(image if image.size == scaled else image.resize(scaled, resample))
    top, left = (bytes_HWC.shape[0] - height) // 2, (bytes_HWC.shape[1] - width) // 2
    return bytes_HWC[top : top + height, left : left + width]


def seconds_shown(clip: Clip, rate_hz: float) -> float:
    """Seconds the frames stand for: to the last frame and one step more, no longer than the clip."""
    times = clip.frame_times_s
    if times is None or len(times) < 2:
        return min(clip.duration_s or 1.0 / rate_hz, 1.0 / rate_hz)
    shown = float(times[-1] - times[0]) + 1.0 / rate_hz
    return min(shown, clip.duration_s) if clip.duration_s else shown


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a network takes and gives.

    Attributes:
        size: height and width in pixels.
        frames: of a chunk.
        tubelet: frames that share their tokens, and the mean of their times.
        tokens: of a tubelet.
    """

    size: tuple[int, int]
    frames: int = 1
    tubelet: int = 1
    tokens: int


class PictureEncoder(Encoder):
    """Frames at about `rate_hz`, in chunks of as many as the network takes at once; tokens tubelet by tubelet.

    The last chunk is filled by repeating the last frame; tubelets of nothing but such frames are masked out. A subclass gives `tiny`,
    `width`, `layout`, `encode_chunks`, and names the classes of transformers.
    """

    modality = "video"
    config_class: ClassVar[Any]
    """Of transformers, whose keys `backbone` holds."""
    model_class: ClassVar[Any]
    """Of transformers."""
    built_class: ClassVar[Any] = None
    """What is built with random weights; None: `model_class` too."""
    options: ClassVar[Mapping[str, Any]] = {}
    """For the constructor of `model_class`."""
    part: ClassVar[str] = ""
    """Key of a published config that holds this half of a model (`vision_config`)."""
    published: ClassVar[Published] = Published()

    Config = PictureConfig

    @classmethod
    @abstractmethod
    def layout(cls, config: Any) -> Layout:
        """Sizes of a resolved config."""

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with nothing left open: `backbone`, and how pictures are prepared.

        Raises:
            CheckpointError: the source has no readable config.
            ConfigError: an unknown key, or choices that the network cannot take.
        """
        if cls.part and config.source and not config.backbone:
            whole = read_config(config.source, config.revision, cls.config_class)
            config = replace(config, backbone=whole.get(cls.part) or whole)
        resolved: PictureConfig = resolve_backbone(config, cls.config_class)
        return resolved.prepared(cls.layout(resolved).size, cls.published)

    @classmethod
    def rate_hz(cls, config: Any) -> float:
        """Frames per second."""
        return float(config.rate_hz)

    @classmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the network; heads and other halves of a published checkpoint are not read."""
        if load_weights and config.source:
            return load_pretrained(cls.model_class, config, options=cls.options)
        return build_backbone(cls.built_class or cls.model_class, config, cls.config_class, cls.options)

    @classmethod
    def preprocess(cls, config: Any, clip: Clip) -> EncoderInput:
        """Resize, crop, scale and normalise every frame as published, then cut them into chunks.

        Returns:
            EncoderInput with `pixel_values` (C, frames, 3, H, W) float32; (C, 3, H, W) where a chunk is one frame.

        Raises:
            MediaError: no frames.
        """
        layout = cls.layout(config)
        frames_THWC, seconds_T = frames_of(clip)
        n_real = len(frames_THWC)
        n_chunks = -(-n_real // layout.frames)
        source_T = torch.arange(n_chunks * layout.frames).clamp(max=n_real - 1)
        pixels_CTCHW = pixels(config, frames_THWC, layout.size)[source_T].unflatten(0, (n_chunks, layout.frames))
        times_K, mask_K = tubelet_times(torch.from_numpy(seconds_T), n_chunks * layout.frames, layout.tubelet)
        return EncoderInput(
            tensors={"pixel_values": pixels_CTCHW.squeeze(1) if layout.frames == 1 else pixels_CTCHW},
            times_S=times_K.repeat_interleave(layout.tokens),
            mask_S=mask_K.repeat_interleave(layout.tokens),
            seconds=seconds_shown(clip, config.rate_hz),
            frames=n_real,
        )

    def fitting(self, pixel_values: Tensor) -> Tensor:
        """Return pixel_values in the network's type.

        Raises:
            ConfigError: another number of frames or pixels than the network takes.
        """
        layout = self.layout(self.config)
        frames = () if layout.frames == 1 else (layout.frames,)
        wanted = (*frames, self.config.backbone.get("num_channels", 3), *layout.size)
        if tuple(pixel_values.shape[1:]) != wanted:
            raise ConfigError(
                f"pixel_values are {tuple(pixel_values.shape)}, wanted (C, {', '.join(map(str, wanted))});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        return pixel_values.to(next(self.backbone.parameters()).dtype)


def tubelet_times(times_T: Tensor, n_frames: int, tubelet: int) -> tuple[Tensor, Tensor]:
    """Return (times, mask) of tubelets over `n_frames` frames of which the first `len(times_T)` are real.

    A tubelet's time is the mean of its real frames; one without any takes the last frame's time and is masked out.
    """
    n_real = len(times_T)
    real_KT = (torch.arange(n_frames) < n_real).view(-1, tubelet)
    padded_KT = torch.nn.functional.pad(times_T, (0, n_frames - n_real), value=float(times_T[-1])).view(-1, tubelet)
    counts_K = real_KT.sum(dim=1)
    mean_K = (padded_KT * real_KT).sum(dim=1) / counts_K.clamp(min=1)
    return torch.where(counts_K > 0, mean_K, times_T[-1]).float(), counts_K > 0
