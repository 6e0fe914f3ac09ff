"""Qwen2-VL (arXiv 2409.12191) and Qwen2.5-VL (arXiv 2502.13923): pictures of any size; no sound."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unifusion.models.existing.family import Piece
from unifusion.models.existing.qwen_pictures import QwenPictures
from unifusion.processor import StreamItem

__all__ = ["Qwen2VL", "Qwen25VL"]


class Qwen25VL(QwenPictures):
    """Qwen2.5-VL. Time counts in seconds."""

    network = "Qwen2_5_VLForConditionalGeneration"

    def inside(self, kind: str, item: StreamItem) -> list[Piece]:
        """Placeholders; what follows counts on from the larger side of the grid, whatever the time is, as transformers does."""
        (piece,) = super().inside(kind, item)
        _, rows, columns = (int(n) // self.patching.merge for n in item.tensors["grid"][0])
        return [replace(piece, ends=float(max(rows, columns)))]


class Qwen2VL(Qwen25VL):
    """Qwen2-VL. Time counts in steps of two frames."""

    network = "Qwen2VLForConditionalGeneration"

    def places(self, item: StreamItem) -> Tensor:
        """Time, row and column (3, n) of picture tokens, from the first free position."""
        steps = int(item.tensors["grid"][0, 0])
        places = super().places(item)
        return torch.stack([torch.arange(steps).float().repeat_interleave(places.shape[1] // steps), *places[1:]])

    @property
    def per_second(self) -> float:
        """Not used: steps are counted."""
        return 1.0
