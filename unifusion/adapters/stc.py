"""Spatial-temporal convolution: residual stages around a 3-D convolution that halves time, rows and columns.

Follows the STC connector of Cheng et al., "VideoLLaMA 2" (2024), whose stages are those of RegNetY (Radosavovic et al., "Designing
Network Design Spaces", 2020); weights have the names of its checkpoints, but for `readout`, which is `projection` here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.adapters.adapter import Adapter
from unifusion.batch import Features
from unifusion.layers import MLP, in_time_order

__all__ = ["Stc"]


class _LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each place of (N, C, H, W)."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Conv(nn.Module):
    """Convolution without bias, normalisation, activation."""

    def __init__(self, channels: int, out: int, kernel: int, groups: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, groups=groups, bias=False)
        self.bn = _LayerNorm2d(out)
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Apply all three."""
        out: Tensor = self.act(self.bn(self.conv(x_NCHW)))
        return out


class _Squeeze(nn.Module):
    """Squeeze and excitation: channels are weighed by the mean picture."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Weigh."""
        mean = x_NCHW.mean((2, 3), keepdim=True)
        return x_NCHW * torch.sigmoid(self.fc2(nn.functional.silu(self.fc1(mean))))


class _Block(nn.Module):
    """RegNetY's bottleneck with groups of one channel."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv1 = _Conv(channels, out, 1)
        self.conv2 = _Conv(out, out, 3, groups=out)
        self.se = _Squeeze(out, max(1, round(channels * 0.25)))
        self.conv3 = _Conv(out, out, 1, act=False)
        self.downsample = _Conv(channels, out, 1, act=False) if channels != out else nn.Identity()

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Add what the convolutions find."""
        return nn.functional.silu(self.conv3(self.se(self.conv2(self.conv1(x_NCHW)))) + self.downsample(x_NCHW))


def _stage(depth: int, channels: int, out: int) -> nn.Sequential:
    """`depth` blocks, named b1, b2 .."""
    stage = nn.Sequential()
    for i in range(depth):
        stage.add_module(f"b{i + 1}", _Block(channels if i == 0 else out, out))
    return stage


class Stc(Adapter):
    """Frames of patches through convolutions in space, one in space and time, and convolutions in space again.

    Features of the same second are a frame, its patches a square row by row. Where frames differ in size or are no squares (sound has
    one token a moment), each feature is a frame of one patch, so that time alone is halved.
    """

    @dataclass(kw_only=True)
    class Config(Adapter.Config):
        """VideoLLaMA2's sizes by default."""

        width: int = 0
        """Channels of the convolutions; 0 is the language model's width."""
        depth: int = 4
        """Blocks before and behind the halving."""
        padding: int = 1
        """Of the halving: 1 as VideoLLaMA2, 0 as VideoLLaMA2.1 (what is left over at an edge is filled up then, and nothing lost)."""
        hidden: int = 0
        """Of the MLP behind it all; 0 is the language model's width."""

    def __init__(self, in_width: int, out_width: int, config: Config) -> None:
        super().__init__(in_width, out_width, config)
        width = config.width or out_width
        self.s1 = _stage(config.depth, in_width, width)
        self.sampler = nn.Sequential(nn.Conv3d(width if config.depth else in_width, width, 2, stride=2, padding=config.padding), nn.SiLU())
        self.s2 = _stage(config.depth, width, width)
        self.projection = MLP(width, config.hidden or out_width, out_width)

    @classmethod
    def tiny(cls) -> Config:
        """One block of 12 channels on each side."""
        return cls.Config(width=12, depth=1, hidden=16)

    @classmethod
    def token_times(cls, config: Config, times_S: Tensor, mask_S: Tensor) -> Tensor:
        """Return the mean time of the frames that each token sees (Q,)."""
        real_S = times_S[mask_S].float().cpu().sort(stable=True).values
        seconds_F, side = _grid(real_S)
        return _halved_times(seconds_F, config.padding).repeat_interleave(_halved(side, config.padding) ** 2)

    def forward(self, features: Features) -> Features:
        """Map features (B, S, in_width) to tokens (B, Q, out_width) with mask (B, Q) and times (B, Q)."""
        ordered = in_time_order(features, self.sampler[0].weight.dtype)  # type: ignore[arg-type]
        times_BQ, mask_BQ = self.output_times(ordered)
        tokens_BQD = ordered.tokens_BSD.new_zeros(*mask_BQ.shape, self.out_width)
        for row, real_S in enumerate(ordered.mask_BS):
            if not bool(real_S.any()):
                continue
            seconds_F, side = _grid(ordered.times_BS[row][real_S].cpu())
            x_FCHW = ordered.tokens_BSD[row][real_S].unflatten(0, (len(seconds_F), side, side)).permute(0, 3, 1, 2)
            out_QD = self.projection(self._convolved(x_FCHW))
            tokens_BQD[row, : len(out_QD)] = out_QD
        return Features(tokens_BSD=tokens_BQD, mask_BS=mask_BQ, times_BS=times_BQ)

    def _convolved(self, x_FCHW: Tensor) -> Tensor:
        """Frames (F, C, H, W) to tokens (Q, width), frame by frame, row by row."""
        x_CFHW = self.s1(x_FCHW).transpose(0, 1)
        if not self.config.padding:  # whole cells of two, the last filled by zeros
            x_CFHW = nn.functional.pad(x_CFHW, [n for size in reversed(x_CFHW.shape[1:]) for n in (0, size % 2)])
        half_CFHW = self.sampler(x_CFHW[None])[0]
        return self.s2(half_CFHW.transpose(0, 1)).permute(0, 2, 3, 1).flatten(0, 2)  # type: ignore[no-any-return]


def _grid(times_S: Tensor) -> tuple[Tensor, int]:
    """The seconds of an item's frames (F,) and how many patches each has along a side; features ascend in time."""
    seconds_F, counts_F = torch.unique_consecutive(times_S, return_counts=True)
    side = round(float(counts_F[0]) ** 0.5) if len(counts_F) else 1
    if bool((counts_F == side * side).all()):
        return seconds_F, side
    return times_S, 1


def _halved(size: int, padding: int) -> int:
    """Places along a side of so many behind the halving convolution."""
    return size // 2 + 1 if padding else -(-size // 2)


def _halved_times(seconds_F: Tensor, padding: int) -> Tensor:
    """Mean seconds of the (one or two) frames behind each halved one; a last one of padding alone takes the last frame's."""
    if not len(seconds_F):
        return seconds_F
    cells = [seconds_F[max(0, 2 * i - padding) : 2 * i - padding + 2] for i in range(_halved(len(seconds_F), padding))]
    return torch.stack([c.mean() if len(c) else seconds_F[-1] for c in cells])
