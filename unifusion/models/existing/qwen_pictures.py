"""How Qwen's models see: rows of patches of any size, two frames to a step, positions of time, row and column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.models.existing.family import Family, Piece, Prepared, frame_rate
from unifusion.models.existing.patches import CRAMPED, Patching
from unifusion.processor import StreamItem

__all__ = ["QwenPictures"]


class QwenPictures(Family):
    """What Qwen's families share."""

    takes: ClassVar[tuple[str, ...]] = ("video",)
    tripled = True
    laid_out_by = ("grid", "step_s")
    patch: ClassVar[int] = 14

    def __init__(self, config: Any, settings: Mapping[str, Mapping[str, Any]]) -> None:
        from transformers import Qwen2VLImageProcessorPil

        super().__init__(config, settings)
        self.patching = self.patching_of(settings["video_processor"])
        self.stills = Qwen2VLImageProcessorPil.from_dict({"patch_size": self.patch, **settings["image_processor"]})
        self.max_frames = int(settings["video_processor"].get("max_frames") or self.max_frames)

    def patching_of(self, settings: Mapping[str, Any]) -> Patching:
        """Sizes of video frames: 128 to 768 tokens' worth of pixels, where the settings are silent."""
        side = (self.patch * 2) ** 2
        return Patching.of(settings, size=(128 * side, 768 * side), patch=self.patch, temporal=2)

    @property
    def per_second(self) -> float:
        """Positions per second."""
        return float(self.config.vision_config.tokens_per_second)

    def picture(self, clip: Clip, *, still: bool, most_tokens: int) -> Prepared:
        """Rows of patches and their grid."""
        frames_THWC = np.asarray(clip.frames_THWC)
        if still:
            found = self.stills.preprocess(frames_THWC[0], return_tensors="pt")
            grid = found["image_grid_thw"]
            tensors = {"pixels": found["pixel_values"], "grid": grid, "step_s": torch.zeros(1)}
            tokens = int(grid.prod()) // self.stills.merge_size**2
            return Prepared(tensors=tensors, tokens=tokens, seconds=1.0 / self.rate_hz, frames=1)
        rows, grid, cramped = self.patching.frames(frames_THWC, most_tokens)
        rate_hz = frame_rate(clip, self.rate_hz)
        seconds = min(len(frames_THWC) / rate_hz, clip.duration_s or float("inf"))
        tensors = {"pixels": rows, "grid": grid, "step_s": torch.tensor([self.patching.temporal / rate_hz])}
        notes = (CRAMPED,) if cramped else ()
        tokens = int(grid.prod()) // self.patching.merge**2
        return Prepared(tensors=tensors, tokens=tokens, seconds=seconds, frames=len(frames_THWC), notes=notes)

    def encode(self, network: Any, stream: str, item: StreamItem, *, still: bool) -> dict[str, Tensor]:
        """Features of pictures, and those for the first layers of the language model where the tower gives them."""
        get = network.get_image_features if still else network.get_video_features
        out = get(item.tensors["pixels"].to(network.device, network.dtype), item.tensors["grid"].to(network.device))
        deep = getattr(out, "deepstack_features", None)
        return {"tokens": out.pooler_output[0], **({"deep": torch.stack([d[0] for d in deep], 1)} if deep else {})}

    def places(self, item: StreamItem) -> Tensor:
        """Time, row and column (3, n) of picture tokens, from the first free position."""
        steps, rows, columns = (int(n) for n in item.tensors["grid"][0])
        rows, columns = rows // self.patching.merge, columns // self.patching.merge
        times = self.counted(torch.arange(steps) * item.tensors["step_s"].float() * self.per_second)
        grid = torch.meshgrid(times, torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
        return torch.stack([g.flatten() for g in grid])

    def counted(self, times: Tensor) -> Tensor:
        """Times as positions: whole numbers."""
        return times.floor()

    def inside(self, kind: str, item: StreamItem) -> list[Piece]:
        """Placeholders of one stream alone."""
        at = None if kind == "audio" else self.places(item)
        return [Piece(tokens=(kind,) * len(item.token_times_Q), at=at)]
