"""A few queries for every window of time: order is kept, and the tokens grow with the clip.

The idea is that of windowed Q-Formers for sound (SALMONN, Tang et al. 2023; Granite Speech, 2025), in windows of seconds instead of
frames, so that picture and sound of the same moment lie side by side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.adapters.adapter import Adapter
from unifusion.batch import Features
from unifusion.layers import LatentResampler, time_embedding

__all__ = ["WindowedQFormer"]


@dataclass(frozen=True)
class Windows:
    """Which features each of K windows of a batch holds; L is the most of any window. All on the CPU.

    Attributes:
        row_K: row of the batch.
        slot_K: the window's place among its row's windows.
        number_K: window number k: it covers [k, k + 1) x window_s.
        index_KL: index into the flattened (B x S) features, -1 where the window holds fewer.
        within_KL: seconds from the window's start, float32; the difference is taken in float64, late in a clip it matters.
    """

    row_K: Tensor
    slot_K: Tensor
    number_K: Tensor
    index_KL: Tensor
    within_KL: Tensor

    @classmethod
    def of(cls, times_BS: Tensor, mask_BS: Tensor, window_s: float) -> Windows:
        """Sort the real features (B, S) of a batch into windows, ascending within a row."""
        at_N = mask_BS.flatten().nonzero().squeeze(1)
        times_N = times_BS.flatten()[at_N].double()
        number_N = window_number(times_N, window_s)
        low = int(number_N.min()) if len(at_N) else 0
        span = int(number_N.max()) - low + 1 if len(at_N) else 1
        key_N, order_N = torch.sort((at_N // max(times_BS.shape[1], 1)) * span + number_N - low, stable=True)
        key_K, window_N, count_K = torch.unique_consecutive(key_N, return_inverse=True, return_counts=True)
        place_N = torch.arange(len(at_N)) - (count_K.cumsum(0) - count_K)[window_N]
        index_KL = torch.full((len(key_K), int(count_K.max()) if len(at_N) else 0), -1)
        index_KL[window_N, place_N] = at_N[order_N]
        within_KL = torch.zeros(index_KL.shape)
        within_KL[window_N, place_N] = (times_N - number_N.double() * window_s)[order_N].float()
        row_K = key_K // span
        per_row_B = torch.bincount(row_K, minlength=len(times_BS))
        slot_K = torch.arange(len(key_K)) - (per_row_B.cumsum(0) - per_row_B)[row_K]
        return cls(row_K=row_K, slot_K=slot_K, number_K=key_K % span + low, index_KL=index_KL, within_KL=within_KL)


def window_number(times: Tensor, window_s: float) -> Tensor:
    """Return k with k <= time / window_s < k + 1 (int64), where a time within float32's rounding of an edge lies behind it."""
    windows = times.double() / window_s
    return torch.floor(windows + windows.abs() * torch.finfo(torch.float32).eps + 1e-6).long()


class WindowedQFormer(Adapter):
    """`n_queries` learned queries read the features of each window of `window_s` seconds, alone and with the same weights.

    A window without a real feature gives no tokens. Token q of window k stands at k x window_s + (q + 0.5) / n_queries x
    window_s. Features carry sines of their time within the window; where in the picture they come from, the encoder's own
    position embedding says. All windows of a batch are one padded batch of short sequences.
    """

    @dataclass(kw_only=True)
    class Config(Adapter.Config):
        """Defaults give 4 tokens a second from about 1.6 M weights at width 256."""

        window_s: float = 1.0
        n_queries: int = 4
        n_layers: int = 2
        width: int = 256
        n_heads: int = 4
        ff_mult: int = 4

    def __init__(self, in_width: int, out_width: int, config: Config) -> None:
        super().__init__(in_width, out_width, config)
        # Without weights of its own (the key and value projections can do what they would), so that no gradient has to be
        # carried back over all the frozen features for their sake.
        self.norm = nn.LayerNorm(in_width, elementwise_affine=False)
        self.resampler = LatentResampler(
            config.width, in_width, n_latents=config.n_queries, n_layers=config.n_layers, n_heads=config.n_heads, ff_mult=config.ff_mult
        )
        self.projection = nn.Linear(config.width, out_width)

    @classmethod
    def tiny(cls) -> Config:
        """Two queries each quarter of a second."""
        return cls.Config(window_s=0.25, n_queries=2, n_layers=2, width=16, n_heads=2, ff_mult=2)

    @classmethod
    def token_times(cls, config: Config, times_S: Tensor, mask_S: Tensor) -> Tensor:
        """Return times (Q,): `n_queries` in each window that holds a real feature."""
        return cls._times(config, torch.unique(window_number(times_S[mask_S], config.window_s))).flatten()

    @classmethod
    def _times(cls, config: Config, number_K: Tensor) -> Tensor:
        """Return the times (K, Q) of the tokens of windows numbered (K,)."""
        centres_Q = (torch.arange(config.n_queries) + 0.5) / config.n_queries
        return ((number_K[:, None] + centres_Q.double()) * config.window_s).float()

    def forward(self, features: Features) -> Features:
        """Map features (B, S, in_width) to tokens (B, Q, out_width) with mask (B, Q) and times (B, Q)."""
        rows, device = len(features.times_BS), features.tokens_BSD.device
        windows = Windows.of(features.times_BS.cpu(), features.mask_BS.cpu(), self.config.window_s)
        n_slots = int(windows.slot_K.max()) + 1 if len(windows.slot_K) else 0
        place = (windows.row_K.to(device), windows.slot_K.to(device))
        found_KQD = self.projection(self._read(features, windows))
        tokens = found_KQD.new_zeros(rows, n_slots, *found_KQD.shape[1:]).index_put(place, found_KQD)
        times_KQ = self._times(self.config, windows.number_K).to(device)
        times = times_KQ.new_zeros(rows, n_slots, self.config.n_queries).index_put(place, times_KQ)
        mask = torch.zeros_like(times, dtype=torch.bool).index_put(place, torch.ones_like(times_KQ, dtype=torch.bool))
        return Features(tokens_BSD=tokens.flatten(1, 2), mask_BS=mask.flatten(1), times_BS=times.flatten(1))

    def traced(self, features: Features, max_seconds: float) -> Features:
        """Map features (B, S, in_width) to the same tokens (B, K x Q, out_width) of all K windows that `max_seconds` hold.

        A feature lies in one window and is stamped with its time there, so that the windows differ in what they may see alone. Every window
        is computed, with features or without.
        """
        times_BS, mask_BS = features.times_BS, features.mask_BS
        number_BS = window_number(times_BS, self.config.window_s)
        count = math.ceil(max_seconds / self.config.window_s) + 1
        number_K = torch.arange(count, device=times_BS.device)
        real_BKS = (number_BS[:, None] == number_K[:, None]) & mask_BS[:, None]
        within_BS = (times_BS.double() - number_BS.double() * self.config.window_s).float()
        context_BSD = self._stamped(features.tokens_BSD, mask_BS, within_BS)
        batch, length, width = context_BSD.shape
        context_NSD = context_BSD[:, None].expand(batch, count, length, width).flatten(0, 1)
        found_NQD: Tensor = self.projection(self.resampler(context_NSD, real_BKS.flatten(0, 1)))
        found_BKQD, there_BK = found_NQD.unflatten(0, (batch, count)), real_BKS.any(dim=2)
        mask_BKQ = there_BK[..., None].expand(batch, count, self.config.n_queries)
        times_BKQ = self._times(self.config, number_K).expand(batch, count, self.config.n_queries)
        tokens_BKQD = found_BKQD * mask_BKQ[..., None]
        return Features(tokens_BSD=tokens_BKQD.flatten(1, 2), mask_BS=mask_BKQ.flatten(1), times_BS=times_BKQ.flatten(1))

    def attention(self, features: Features) -> Tensor:
        """How much the queries look at each feature (B, S): within each window, every window alike."""
        windows = Windows.of(features.times_BS.cpu(), features.mask_BS.cpu(), self.config.window_s)
        context_KLD, real_KL = self._context(features, windows)
        looks_KL = self.resampler.weights(context_KLD, real_KL).mean(dim=1)
        n_windows_B = torch.bincount(windows.row_K, minlength=len(features.times_BS)).to(looks_KL)
        looks_KL = looks_KL / n_windows_B[windows.row_K.to(looks_KL.device)][:, None]
        at_N, index_KL = features.mask_BS.numel(), windows.index_KL.to(looks_KL.device)
        flat_N = looks_KL.new_zeros(at_N).index_put((index_KL[real_KL],), looks_KL[real_KL])
        return flat_N.view(features.mask_BS.shape)

    def _read(self, features: Features, windows: Windows) -> Tensor:
        """Return what the queries read in the windows (K, Q, width)."""
        found_KQD: Tensor = self.resampler(*self._context(features, windows))
        return found_KQD

    def _context(self, features: Features, windows: Windows) -> tuple[Tensor, Tensor]:
        """Gather the windows' features (K, L, in_width) with their seconds, and which are real (K, L)."""
        index_KL = windows.index_KL.to(features.tokens_BSD.device)
        real_KL, at_KL = index_KL >= 0, index_KL.clamp(min=0)
        context_KLD = features.tokens_BSD.flatten(0, 1)[at_KL].to(self.projection.weight.dtype)
        return self._stamped(context_KLD, real_KL, windows.within_KL.to(index_KL.device)), real_KL

    def _stamped(self, tokens_KLD: Tensor, real_KL: Tensor, within_KL: Tensor) -> Tensor:
        """Normalise features (K, L, in_width) and add their seconds within their windows."""
        context_KLD = self.norm(tokens_KLD.masked_fill(~real_KL[..., None], 0.0))
        stamp_KLD = time_embedding(within_KL, self.in_width, shortest_s=self.config.window_s / 16, longest_s=4 * self.config.window_s)
        out_KLD: Tensor = context_KLD + stamp_KLD.to(context_KLD.dtype)
        return out_KLD
