"""Pictures as rows of patches, which Qwen's vision towers and VideoLLaMA3's take: the published resize, normalisation and order.

Frames of a video go the way of transformers' video processors, which need torchvision: the same formulas over torch, so the numbers
do not depend on whether torchvision is there. Stills go through transformers' own Pillow classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unifusion.errors import ConfigError, MediaError
from unifusion.models.existing.settings import chosen

__all__ = ["CRAMPED", "Patching", "normalised", "resized", "smart_size"]

_MODES = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, which the settings hold -> modes of torch's interpolate."""
_WIDEST = 200.0
CRAMPED = "frames were made smaller than published, to fit into the model's context"
"""What a report says then."""


def smart_size(height: int, width: int, *, factor: int, least: int, most: int) -> tuple[int, int]:
    """Height and width near the given ones, multiples of `factor`, with `least` to `most` pixels (Qwen2-VL's smart_resize).

    Raises:
        MediaError: one side is more than 200 times the other.
    """
    if max(height, width) / min(height, width) > _WIDEST:
        raise MediaError(f"a picture of {width} x {height} is too long and thin for this model;", remedy="crop it.")
    tall, wide = round(height / factor) * factor, round(width / factor) * factor
    if tall * wide > most:
        scale = math.sqrt(height * width / most)
        return max(factor, math.floor(height / scale / factor) * factor), max(factor, math.floor(width / scale / factor) * factor)
    if tall * wide < least:
        scale = math.sqrt(least / (height * width))
        return math.ceil(height * scale / factor) * factor, math.ceil(width * scale / factor) * factor
    return tall, wide


def resized(frames_TCHW: Tensor, size: tuple[int, int], resample: int) -> Tensor:
    """Resize uint8 frames as torchvision does: smoothed, rounded, kept in 0 .. 255.

    Raises:
        ConfigError: the settings name a filter that torchvision lacks.
    """
    if resample not in _MODES:
        raise ConfigError(f"the settings resize videos by filter {resample};", remedy=f"known: {', '.join(map(str, _MODES))}.")
    if tuple(frames_TCHW.shape[-2:]) == size:
        return frames_TCHW
    if resample == 0:
        return functional.interpolate(frames_TCHW, size=size, mode=_MODES[resample])
    pixels = frames_TCHW if resample == 3 else frames_TCHW.float()
    smooth = functional.interpolate(pixels, size=size, mode=_MODES[resample], align_corners=False, antialias=True)
    return smooth if smooth.dtype == torch.uint8 else smooth.round().clamp(0, 255).to(torch.uint8)


def normalised(frames_TCHW: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Pixels (T, C, H, W) in float32: rescaled and normalised in one step, in the order of transformers' fast processors."""
    told = chosen(settings, do_rescale=True, rescale_factor=1 / 255, do_normalize=True, image_mean=(0.5,) * 3, image_std=(0.5,) * 3)
    pixels = frames_TCHW.float()
    unit = 1.0 / told["rescale_factor"] if told["do_rescale"] else 1.0
    if not told["do_normalize"]:
        return pixels * told["rescale_factor"] if told["do_rescale"] else pixels
    mean, std = (torch.tensor(told[k]).view(1, -1, 1, 1) * unit for k in ("image_mean", "image_std"))
    return (pixels - mean) / std


@dataclass(frozen=True, kw_only=True)
class Patching:
    """Sizes and settings of one model.

    Attributes:
        settings: of its video processor.
        shortest, longest: pixels of a frame.
        merge: patches per side that become one token.
        shared: `longest` is of all frames together (VideoLLaMA3).
    """

    settings: Mapping[str, Any]
    shortest: int
    longest: int
    patch: int
    merge: int
    temporal: int
    shared: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, size: tuple[int, int], patch: int, temporal: int, shared: bool = False) -> Patching:
        """Read the settings of a video processor; `size` is its published (shortest, longest) in pixels."""
        given = settings.get("size") if isinstance(settings.get("size"), Mapping) else {}
        told = chosen(settings, patch_size=patch, merge_size=2, temporal_patch_size=temporal, min_pixels=None, max_pixels=None)
        edges = chosen(given or {}, shortest_edge=size[0], longest_edge=size[1])
        return cls(
            settings=settings, shortest=told["min_pixels"] or edges["shortest_edge"], longest=told["max_pixels"] or edges["longest_edge"],
            patch=told["patch_size"], merge=told["merge_size"], temporal=told["temporal_patch_size"], shared=shared,
        )  # fmt: skip

    def frames(self, frames_THWC: np.ndarray, most_tokens: int) -> tuple[Tensor, Tensor, bool]:
        """Rows of patches (P, C * temporal * patch * patch), their grid (1, 3) as (time, rows, columns), and whether size was traded.

        Frames are made smaller than published where the clip would become more than `most_tokens` tokens.
        """
        pixels_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2)
        factor, steps = self.patch * self.merge, math.ceil(len(pixels_TCHW) / self.temporal)
        longest = self.longest // len(pixels_TCHW) if self.shared else self.longest
        height, width = smart_size(*pixels_TCHW.shape[-2:], factor=factor, least=self.shortest, most=longest)
        cramped = height * width // factor**2 * steps > most_tokens
        if cramped:
            room = max(most_tokens // steps, 1) * factor**2
            height, width = smart_size(*pixels_TCHW.shape[-2:], factor=factor, least=min(self.shortest, room), most=room)
            if height * width > room:  # made larger, to the next patch
                height, width = smart_size(height, width, factor=factor, least=1, most=room)
        told = chosen(self.settings, resample=3)
        pixels_TCHW = normalised(resized(pixels_TCHW, (height, width), told["resample"]), self.settings)
        short = -len(pixels_TCHW) % self.temporal
        pixels_TCHW = torch.cat([pixels_TCHW, pixels_TCHW[-1:].expand(short, -1, -1, -1)])
        return self._rows(pixels_TCHW), torch.tensor([[steps, height // self.patch, width // self.patch]]), cramped

    def _rows(self, pixels_TCHW: Tensor) -> Tensor:
        """Patches in the order of the towers: time, blocks of `merge` x `merge`, then the patches of a block."""
        count, channels, height, width = pixels_TCHW.shape
        m, p = self.merge, self.patch
        cut = pixels_TCHW.reshape(count // self.temporal, self.temporal, channels, height // p // m, m, p, width // p // m, m, p)
        return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(-1, channels * self.temporal * p * p)
