"""Streams fused before the language model: each is averaged over time, weighed against the others, and one more token says it all.

Follows the attention-based pre-fusion of Lian et al., "AffectGPT" (2025): weights from a linear layer over all averages together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.adapters.adapter import FusedAdapter
from unifusion.batch import Features

__all__ = ["AttentionPool"]


class AttentionPool(FusedAdapter):
    """One token from the weighted sum of the streams' averages. A stream that a clip lacks gets no weight."""

    @dataclass(kw_only=True)
    class Config(FusedAdapter.Config):
        """`width` of the common space the averages are projected to; `dropout` on them."""

        width: int = 256
        dropout: float = 0.0

    def __init__(self, in_widths: Mapping[str, int], out_width: int, config: Config) -> None:
        super().__init__(in_widths, out_width, config)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name, width in in_widths.items()})
        self.common = nn.ModuleDict({name: nn.Linear(width, config.width) for name, width in in_widths.items()})
        self.dropout = nn.Dropout(config.dropout)
        self.weigh = nn.Linear(config.width * len(in_widths), len(in_widths))
        self.projection = nn.Linear(config.width, out_width)

    @classmethod
    def tiny(cls) -> Config:
        """A common space of 8."""
        return cls.Config(width=8)

    @classmethod
    def n_tokens(cls, config: Config) -> int:
        """One."""
        del config
        return 1

    def forward(self, parts: Mapping[str, Features], places: Mapping[str, Tensor]) -> Tensor:
        """Map the features of several streams to tokens (M, 1, out_width); see FusedAdapter."""
        dtype = self.projection.weight.dtype
        averages, there = [], []
        for name in self.in_widths:
            place_M = places[name]
            mean_MD = self.projection.weight.new_zeros(len(place_M), self.in_widths[name])
            found_M = place_M >= 0
            if name in parts and bool(found_M.any()):
                given = parts[name]
                real_NS1 = given.mask_BS[..., None]
                sums_ND = given.tokens_BSD.to(dtype).masked_fill(~real_NS1, 0.0).sum(dim=1)
                means_ND = sums_ND / real_NS1.sum(dim=1).clamp(min=1)
                mean_MD = torch.where(found_M[:, None], means_ND[place_M.clamp(min=0)], mean_MD)
                found_M = found_M & given.mask_BS.any(dim=1)[place_M.clamp(min=0)]
            averages.append(self.dropout(self.common[name](self.norms[name](mean_MD))) * found_M[:, None])
            there.append(found_M)
        common_MKD, there_MK = torch.stack(averages, dim=1), torch.stack(there, dim=1)
        scores_MK = self.weigh(common_MKD.flatten(1))  # in autocast's type, where it is on
        scores_MK = scores_MK.masked_fill(~there_MK, torch.finfo(scores_MK.dtype).min)
        weights_MK = scores_MK.softmax(dim=-1) * there_MK
        tokens_M1D: Tensor = self.projection((weights_MK[..., None] * common_MKD).sum(dim=1, keepdim=True))
        return tokens_M1D
