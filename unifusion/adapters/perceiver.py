"""A Perceiver resampler over the whole clip (Alayrac et al., "Flamingo", 2022; the form of OpenFlamingo and Otter)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.adapters.adapter import Adapter, centres, whole_clip_times
from unifusion.batch import Features
from unifusion.layers import LatentResampler, in_time_order, time_embedding

__all__ = ["Perceiver"]


class Perceiver(Adapter):
    """A fixed number of latents reads the clip; keys and values are the features and the latents together.

    Flamingo's learned frame embeddings stop at a fixed number of frames; here sines of the seconds are added instead.
    """

    @dataclass(kw_only=True)
    class Config(Adapter.Config):
        """Flamingo's sizes by default; `width` is that of the latents."""

        n_latents: int = 64
        width: int = 1024
        n_layers: int = 6
        n_heads: int = 8
        head_width: int = 64
        ff_mult: int = 4
        time_embedding: bool = True

    windowed = False

    def __init__(self, in_width: int, out_width: int, config: Config) -> None:
        super().__init__(in_width, out_width, config)
        self.norm = nn.LayerNorm(in_width)
        self.media = nn.Linear(in_width, config.width)
        self.resampler = LatentResampler(
            config.width, config.width, n_latents=config.n_latents, n_layers=config.n_layers, n_heads=config.n_heads,
            head_width=config.head_width, style="concat", ff_mult=config.ff_mult,
        )  # fmt: skip
        self.projection = nn.Linear(config.width, out_width)

    @classmethod
    def tiny(cls) -> Config:
        """Three latents of width 16, two layers."""
        return cls.Config(n_latents=3, width=16, n_layers=2, n_heads=2, head_width=4, ff_mult=2)

    @classmethod
    def token_times(cls, config: Config, times_S: Tensor, mask_S: Tensor) -> Tensor:
        """Return the clip's centre for each of the latents (Q,)."""
        return whole_clip_times(times_S, mask_S, config.n_latents)

    def forward(self, features: Features) -> Features:
        """Map features (B, S, in_width) to tokens (B, Q, out_width) with mask (B, Q) and times (B, Q)."""
        ordered = in_time_order(features, self.media.weight.dtype)
        media_BSD = self._context(ordered)
        times_BQ, mask_BQ = self.output_times(ordered)
        tokens_BQD = self.projection(self.resampler(media_BSD, ordered.mask_BS))[:, : mask_BQ.shape[1]] * mask_BQ[..., None]
        return Features(tokens_BSD=tokens_BQD, mask_BS=mask_BQ, times_BS=times_BQ)

    def traced(self, features: Features, max_seconds: float) -> Features:
        """Map features (B, S, in_width) to the same tokens (B, Q, out_width): the latents read a set, in whatever order."""
        del max_seconds
        times_BQ, mask_BQ = centres(features, self.config.n_latents)
        tokens_BQD = self.projection(self.resampler(self._context(features), features.mask_BS)) * mask_BQ[..., None]
        return Features(tokens_BSD=tokens_BQD, mask_BS=mask_BQ, times_BS=times_BQ)

    def _context(self, ordered: Features) -> Tensor:
        """Features in time order, projected, with their seconds (B, S, width)."""
        media_BSD: Tensor = self.media(self.norm(ordered.tokens_BSD))
        if self.config.time_embedding:
            stamp_BSD = time_embedding(ordered.times_BS, self.config.width, shortest_s=0.25, longest_s=1000.0)
            media_BSD = media_BSD + stamp_BSD.to(media_BSD.dtype)
        return media_BSD

    def attention(self, features: Features) -> Tensor:
        """How much the latents look at each feature (B, S); the rest, to 1, is what they looked at each other."""
        ordered = in_time_order(features, self.media.weight.dtype)
        looks_BS = self.resampler.weights(self._context(ordered), ordered.mask_BS).mean(dim=1)
        order_BS = features.times_BS.masked_fill(~features.mask_BS, torch.inf).argsort(dim=1, stable=True)[:, : looks_BS.shape[1]]
        return looks_BS.new_zeros(features.mask_BS.shape).scatter(1, order_BS, looks_BS * ordered.mask_BS)
