"""Neighbouring patches and frames averaged, then an MLP: 2 x 2 pooling as LLaVA-NeXT-Video and LLaVA-OneVision have it.

Follows Zhang et al., "LLaVA-NeXT: A Strong Zero-shot Video Understanding Model" (2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.adapters.adapter import Adapter
from unifusion.batch import Features
from unifusion.layers import MLP, in_time_order

__all__ = ["TokenPool"]


class TokenPool(Adapter):
    """Cells of `side` x `side` patches over `stride` frames become one token each.

    Features of the same second are a frame. Where a frame's patches are no square (sound has one token a moment), `side` x `side` of them
    that follow each other are averaged instead. What is left over at an edge is averaged as it is.
    """

    @dataclass(kw_only=True)
    class Config(Adapter.Config):
        """`hidden=0` is the language model's width, as LLaVA; `norm=False` leaves out the LayerNorm, as LLaVA."""

        side: int = 2
        stride: int = 1
        hidden: int = 0
        norm: bool = True

    def __init__(self, in_width: int, out_width: int, config: Config) -> None:
        super().__init__(in_width, out_width, config)
        self.norm = nn.LayerNorm(in_width) if config.norm else nn.Identity()
        self.projection = MLP(in_width, config.hidden or out_width, out_width)

    @classmethod
    def tiny(cls) -> Config:
        """Cells of 2 x 2 over two frames, 16 hidden units."""
        return cls.Config(stride=2, hidden=16)

    @classmethod
    def token_times(cls, config: Config, times_S: Tensor, mask_S: Tensor) -> Tensor:
        """Return the mean time of each cell's frames (Q,)."""
        real_S = times_S[mask_S].float().cpu().sort(stable=True).values
        return _cells(real_S, config.side, config.stride)[1]

    def forward(self, features: Features) -> Features:
        """Map features (B, S, in_width) to tokens (B, Q, out_width) with mask (B, Q) and times (B, Q)."""
        ordered = in_time_order(features, next(self.projection.parameters()).dtype)
        times_BQ, mask_BQ = self.output_times(ordered)
        pooled_BQD = ordered.tokens_BSD.new_zeros(*mask_BQ.shape, self.in_width)
        for row, (times_S, mask_S) in enumerate(zip(ordered.times_BS.cpu(), ordered.mask_BS.cpu(), strict=True)):
            cell_S, stamps = _cells(times_S[mask_S], self.config.side, self.config.stride)
            cell_S = cell_S.to(pooled_BQD.device)
            counts_Q = torch.bincount(cell_S, minlength=len(stamps)).clamp(min=1).to(pooled_BQD.dtype)
            sums_QD = pooled_BQD.new_zeros(len(stamps), self.in_width).index_add(0, cell_S, ordered.tokens_BSD[row, : len(cell_S)])
            pooled_BQD[row, : len(stamps)] = sums_QD / counts_Q[:, None]
        tokens_BQD = self.projection(self.norm(pooled_BQD)) * mask_BQ[..., None]
        return Features(tokens_BSD=tokens_BQD, mask_BS=mask_BQ, times_BS=times_BQ)


def _cells(times_S: Tensor, side: int, stride: int) -> tuple[Tensor, Tensor]:
    """Which cell each of the real features (ascending in time) belongs to (S,), and the time of each cell (Q,) float32."""
    seconds_F, counts_F = torch.unique_consecutive(times_S, return_counts=True)
    names, stamps = [], []
    for first in range(0, len(counts_F), stride):
        frames = range(first, min(first + stride, len(counts_F)))
        keys = [(first, cell) for frame in frames for cell in _frame_cells(int(counts_F[frame]), side)]
        names += keys
        stamps += [float(seconds_F[frames.start : frames.stop].mean())] * len(set(keys))
    order = {key: i for i, key in enumerate(sorted(set(names)))}
    return torch.tensor([order[k] for k in names], dtype=torch.long), torch.tensor(stamps, dtype=torch.float32)


def _frame_cells(patches: int, side: int) -> list[int]:
    """The cell of each patch of a frame, row by row."""
    across = round(patches**0.5)
    if across * across != patches:
        return [i // side**2 for i in range(patches)]
    wide = -(-across // side)
    return [(i // across // side) * wide + i % across // side for i in range(patches)]
