"""VideoLLaMA3 (arXiv 2501.13106): frames of any size with their times written out, tokens that do not change left away; no sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.models.existing.family import Family, Piece, Prepared, frame_rate
from unifusion.models.existing.patches import CRAMPED, Patching
from unifusion.processor import StreamItem

__all__ = ["VideoLlama3"]

_CHANGED = 0.1
"""Mean difference of a token's normalised pixels from the frame before, times 255, above which it is kept."""


class VideoLlama3(Family):
    """VideoLLaMA3."""

    network = "VideoLlama3ForConditionalGeneration"
    takes = ("video",)
    laid_out_by = ("kept", "times")
    rate_hz = 1.0
    max_frames = 180

    def __init__(self, config: Any, settings: Mapping[str, Mapping[str, Any]]) -> None:
        from transformers import VideoLlama3ImageProcessorPil

        super().__init__(config, settings)
        told = settings["video_processor"]
        side = 28 * 28
        self.patching = Patching.of(told, size=(128 * side, 768 * side), patch=14, temporal=1, shared=True)
        self.stills = VideoLlama3ImageProcessorPil.from_dict(dict(settings["image_processor"]))
        self.compressed = told.get("use_token_compression") is not False
        self.rate_hz = float(told.get("fps") or self.rate_hz)
        self.max_frames = int(told.get("max_frames") or self.max_frames)

    def picture(self, clip: Clip, *, still: bool, most_tokens: int) -> Prepared:
        """Rows of patches, their grid, which tokens are kept, and the frames' times."""
        frames_THWC = np.asarray(clip.frames_THWC)
        if still:
            found = self.stills.preprocess(frames_THWC[0], return_tensors="pt")
            grid, merge = found["image_grid_thw"], found["image_merge_sizes"]
            tokens = int(grid.prod()) // int(merge) ** 2
            tensors = {"pixels": found["pixel_values"], "grid": grid, "merge": merge}
            return Prepared(tensors=tensors, tokens=tokens, seconds=1.0 / self.rate_hz, frames=1)
        rows, grid, cramped = self.patching.frames(frames_THWC, most_tokens)
        kept_TS = self._kept(rows, grid)
        rate_hz = frame_rate(clip, self.rate_hz)
        times = torch.tensor(np.asarray(clip.frame_times_s), dtype=torch.float64)
        notes = [CRAMPED] if cramped else []
        if not bool(kept_TS.all()):
            notes.append(f"{int((~kept_TS).sum())} of {kept_TS.numel()} picture tokens are left out: there the picture does not change")
        return Prepared(
            tensors={"pixels": rows, "grid": grid, "merge": torch.tensor([self.patching.merge]), "kept": kept_TS, "times": times},
            tokens=int(kept_TS.sum()), seconds=min(len(frames_THWC) / rate_hz, clip.duration_s or float("inf")),
            frames=len(frames_THWC), notes=tuple(notes),
        )  # fmt: skip

    def _kept(self, rows: Tensor, grid: Tensor) -> Tensor:
        """Which tokens (T, S) differ from those of the frame before; each frame keeps at least one."""
        steps, height, width = (int(n) for n in grid[0])
        size = (height // self.patching.merge) * (width // self.patching.merge)
        kept_TS = torch.ones(steps, size, dtype=torch.bool)
        if steps > 1 and self.compressed:
            tokens = rows.view(steps, size, -1)
            kept_TS[1:] = (tokens[1:] - tokens[:-1]).abs().mean(-1) * 255 > _CHANGED
            kept_TS[~kept_TS.any(1), :1] = True
        return kept_TS

    def inside(self, kind: str, item: StreamItem) -> list[Piece]:
        """Each frame's time in words, then its tokens."""
        if kind == "image":
            return super().inside(kind, item)
        counts = item.tensors["kept"].sum(1).tolist()
        out: list[Piece] = []
        for n, (time, count) in enumerate(zip(item.tensors["times"].tolist(), counts, strict=True)):
            out += [Piece(text=f"{',' if n else ''}Time {time:.1f}s:"), Piece(tokens=(kind,) * count)]
        return out

    def encode(self, network: Any, stream: str, item: StreamItem, *, still: bool) -> dict[str, Tensor]:
        """Features of the tokens that are kept."""
        held = {k: v.to(network.device) for k, v in item.tensors.items()}
        out = network.model.get_image_features(held["pixels"].to(network.dtype), held["grid"], held["merge"])
        tokens_SD = out.pooler_output[0]
        return {"tokens": tokens_SD if still else tokens_SD[held["kept"].flatten()]}
