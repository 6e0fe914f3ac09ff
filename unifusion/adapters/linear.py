"""One LayerNorm and one Linear: the first LLaVA's projection (Liu et al., "Visual Instruction Tuning", 2023), token by token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.adapters.adapter import Adapter
from unifusion.batch import Features
from unifusion.layers import pool_in_time, pool_traced

__all__ = ["Linear"]


class Linear(Adapter):
    """Each real feature, or the mean of each `stride` of them, becomes one token."""

    @dataclass(kw_only=True)
    class Config(Adapter.Config):
        """`stride` features that follow each other in time are averaged into one; `norm=False` leaves out the LayerNorm, as LLaVA."""

        stride: int = 1
        norm: bool = True

    def __init__(self, in_width: int, out_width: int, config: Config) -> None:
        super().__init__(in_width, out_width, config)
        self.norm = nn.LayerNorm(in_width) if config.norm else nn.Identity()
        self.projection = nn.Linear(in_width, out_width)

    @classmethod
    def tiny(cls) -> Config:
        """Means of three features."""
        return cls.Config(stride=3)

    @classmethod
    def token_times(cls, config: Config, times_S: Tensor, mask_S: Tensor) -> Tensor:
        """Return the (mean) times (Q,) of the real features, Q = ceil(real / stride)."""
        nothing = torch.zeros(1, len(times_S), 0)
        return pool_in_time(Features(tokens_BSD=nothing, mask_BS=mask_S[None], times_BS=times_S[None]), config.stride).times_BS[0]

    def forward(self, features: Features) -> Features:
        """Map features (B, S, in_width) to tokens (B, Q, out_width) with mask (B, Q) and times (B, Q)."""
        return self._projected(pool_in_time(features, self.config.stride, self.projection.weight.dtype))

    def traced(self, features: Features, max_seconds: float) -> Features:
        """Map features (B, S, in_width) in order to the same tokens (B, Q, out_width)."""
        del max_seconds
        return self._projected(pool_traced(features, self.config.stride))

    def _projected(self, pooled: Features) -> Features:
        """Normalise and project (B, Q, in_width) to (B, Q, out_width)."""
        tokens_BQD = self.projection(self.norm(pooled.tokens_BSD)) * pooled.mask_BS[..., None]
        return Features(tokens_BSD=tokens_BQD, mask_BS=pooled.mask_BS, times_BS=pooled.times_BS)
