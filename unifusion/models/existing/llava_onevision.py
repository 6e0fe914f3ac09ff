"""LLaVA-OneVision (arXiv 2408.03326): a still as a whole and in tiles, a video as frames pooled to a quarter of their tokens; no sound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.errors import CheckpointError
from unifusion.models.existing.family import Family, Prepared, frame_rate
from unifusion.models.existing.patches import normalised, resized
from unifusion.models.existing.settings import chosen
from unifusion.processor import StreamItem

__all__ = ["LlavaOnevision"]

_CLIP = {
    "image_mean": (0.48145466, 0.4578275, 0.40821073), "image_std": (0.26862954, 0.26130258, 0.27577711),
    "size": {"height": 384, "width": 384},
}  # fmt: skip
"""What transformers' processors take where a file is silent."""


class LlavaOnevision(Family):
    """LLaVA-OneVision. Frames are sampled evenly, at most 32 as it was trained on; its processor leaves their choice to the caller."""

    network = "LlavaOnevisionForConditionalGeneration"
    takes = ("video",)
    rate_hz = 4.0
    max_frames = 32

    def __init__(self, config: Any, settings: Mapping[str, Mapping[str, Any]]) -> None:
        from transformers import LlavaOnevisionImageProcessorPil

        super().__init__(config, settings)
        self.stills = LlavaOnevisionImageProcessorPil.from_dict(dict(settings["image_processor"]))
        self.videos = {**_CLIP, **{k: v for k, v in settings["video_processor"].items() if v is not None}}
        self.max_frames = int(settings["video_processor"].get("num_frames") or self.max_frames)
        side = config.vision_config.image_size // config.vision_config.patch_size
        told = settings["processor"].get("num_image_tokens") or side**2
        if told != side**2 or config.vision_feature_select_strategy != "full":
            raise CheckpointError(
                f"the processor counts {told} tokens a tile and the config takes {config.vision_feature_select_strategy!r} features,"
                f" its tower gives {side**2};",
                remedy="use a checkpoint whose processor and config fit each other.",
            )
        self.side = side

    def picture(self, clip: Clip, *, still: bool, most_tokens: int) -> Prepared:
        """Tiles (1, P, 3, H, W) of a still, or frames (1, T, 3, H, W)."""
        frames_THWC = np.asarray(clip.frames_THWC)
        if still:
            found = self.stills.preprocess(frames_THWC[0], return_tensors="pt")
            height, width = (int(n) for n in found["image_sizes"][0])
            tensors = {"pixels": found["pixel_values"], "size": found["image_sizes"]}
            return Prepared(tensors=tensors, tokens=self.still_tokens(height, width), seconds=1.0 / self.rate_hz, frames=1)
        told = chosen(self.videos, size={}, resample=3)
        edge = told["size"].get("shortest_edge")
        size = (told["size"].get("height") or edge, told["size"].get("width") or edge)
        pixels_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2)
        pixels_TCHW = normalised(resized(pixels_TCHW, size, told["resample"]), self.videos)
        seconds = min(len(frames_THWC) / frame_rate(clip, self.rate_hz), clip.duration_s or float("inf"))
        tokens = len(frames_THWC) * math.ceil(self.side / 2) ** 2 + 1
        return Prepared(tensors={"pixels": pixels_TCHW[None]}, tokens=tokens, seconds=seconds, frames=len(frames_THWC))

    def still_tokens(self, height: int, width: int) -> int:
        """Tokens of a still: the whole, its tiles without the padding, and one behind each row of these."""
        from transformers.image_processing_utils import select_best_resolution

        tall, wide = select_best_resolution((height, width), self.config.image_grid_pinpoints)
        tile = self.config.vision_config.image_size
        rows, columns = self.side * (tall // tile), self.side * (wide // tile)
        if width / height > columns / rows:
            rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
        else:
            columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
        most = int(self.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(rows * columns / (most * self.side**2))
        if ratio > 1.1:
            rows, columns = int(rows // ratio), int(columns // ratio)
        return int(self.side**2 + rows * columns + rows)

    def encode(self, network: Any, stream: str, item: StreamItem, *, still: bool) -> dict[str, Tensor]:
        """Features of one still or video."""
        pixels = item.tensors["pixels"].to(network.device, network.dtype)
        if still:
            return {"tokens": network.get_image_features(pixels, item.tensors["size"].to(network.device)).pooler_output[0]}
        return {"tokens": network.get_video_features(pixels).pooler_output[0]}
