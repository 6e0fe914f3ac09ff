"""From the features of one modality's encoders to one vector: pooled by attention, by the clock, and projected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.layers import MLP, Attention, Latents, time_embedding

__all__ = ["Clock", "ClockPool", "Head", "Layer", "Tower", "bins_of"]


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A picture of what happens when: `bins` equal spans of `bin_s` seconds from the start, `channels` numbers in each; later tokens are
    not in it. With it, a sound and a picture that share nothing but their rhythm can be told to belong together.

    The tokens of a span are attended by one learned score. With `slots` the first so many of them stand side by side, each with weights of
    its own: of a grid, where something is can then be told (where the lips are, at 0.48 s of 4 x 4 places: 16).
    """

    bin_s: float
    bins: int
    channels: int = 32
    slots: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no clock."""
        if self.bin_s <= 0 or self.bins < 1 or self.channels < 1 or self.slots < 0:
            found = f"a clock of {self.bins} bins of {self.bin_s:g} s with {self.channels} channels and {self.slots} slots;"
            raise ConfigError(found, remedy="the first three are above 0; slots is 0, or the number of tokens in a bin.")


@dataclass(frozen=True, kw_only=True)
class Head:
    """What is trained above an encoder.

    Attributes:
        width: of the pooled tokens.
        attending: layers of self-attention over the tokens before they are pooled.
        queries: learned queries that pool them.
        layers: of the projection: 1 is linear, 2 or 3 an MLP.
        dropout: before the projection, in training.
    """

    width: int = 256
    attending: int = 1
    queries: int = 2
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a projection of no or of too many layers."""
        if not 1 <= self.layers <= 3 or self.attending < 0 or self.queries < 1 or self.width % 32:
            found = f"a head of {self.layers} layers, {self.attending} attending, {self.queries} queries and width {self.width};"
            raise ConfigError(found, remedy="take 1 to 3 layers, 0 or more attending, 1 or more queries, a width that 32 divides.")


class Layer(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, width // 32)
        self.norm_mlp, self.mlp = nn.LayerNorm(width), MLP(width, 2 * width, width)

    def forward(self, x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Map tokens (B, S, D) with mask (B, S) to tokens (B, S, D)."""
        x = self.norm(x_BSD)
        x_BSD = x_BSD + self.attention(x, x, mask_BS)
        out: Tensor = x_BSD + self.mlp(self.norm_mlp(x_BSD))
        return out


class _Pool(nn.Module):
    """Tokens of any number to one vector: each with its second, then attended by learned queries."""

    def __init__(self, in_width: int, head: Head) -> None:
        super().__init__()
        width = head.width
        self.norm, self.projection = nn.LayerNorm(in_width), nn.Linear(in_width, width)
        self.attending = nn.ModuleList(Layer(width) for _ in range(head.attending))
        self.queries, self.norm_out = Latents(head.queries, width), nn.LayerNorm(width)
        self.pool = Attention(width, width // 32)
        self.width, self.out_width = width, head.queries * width

    def attended(self, features: Features, hidden_BS: Tensor | None = None, blank_D: Tensor | None = None) -> Tensor:
        """Tokens (B, S, width) as they stand before the queries; `blank_D` takes the place of hidden ones."""
        x_BSD = self.projection(self.norm(features.tokens_BSD))
        if hidden_BS is not None and blank_D is not None:
            x_BSD = torch.where(hidden_BS[..., None], blank_D.to(x_BSD.dtype), x_BSD)
        x_BSD = x_BSD + time_embedding(features.times_BS, self.width, shortest_s=0.25, longest_s=1000.0).to(x_BSD.dtype)
        for layer in self.attending:
            x_BSD = layer(x_BSD, features.mask_BS)
        out_BSD: Tensor = x_BSD
        return out_BSD

    def forward(self, features: Features) -> Tensor:
        """Map tokens (B, S, in_width) to (B, queries x width)."""
        x_BSD = self.attended(features)
        queries_BQD = self.queries(x_BSD.shape[0]).to(x_BSD.dtype)
        found_BQD: Tensor = self.pool(queries_BQD, self.norm_out(x_BSD), features.mask_BS)
        return found_BQD.flatten(1)


class ClockPool(nn.Module):
    """Tokens to one vector that says what was when: attended or laid out within each bin of a fixed clock, convolved over the bins, all
    bins kept."""

    def __init__(self, in_width: int, out_width: int, clock: Clock) -> None:
        super().__init__()
        self.clock, self.out_width = clock, out_width
        self.norm = nn.LayerNorm(in_width)
        self.value = nn.Linear(in_width * max(1, clock.slots), clock.channels)
        self.score = None if clock.slots else nn.Linear(in_width, 1)
        self.absent = Latents(1, clock.channels)
        self.over_time = nn.Sequential(
            nn.Conv1d(clock.channels, clock.channels, 5, padding=2), nn.GELU(), nn.Conv1d(clock.channels, clock.channels, 5, padding=2)
        )
        self.out = nn.Sequential(nn.LayerNorm(clock.bins * clock.channels), nn.Linear(clock.bins * clock.channels, out_width))

    def forward(self, features: Features) -> Tensor:
        """Map tokens (B, S, D) with mask and times to (B, out_width)."""
        out: Tensor = self.out(self.steps(features)[0].flatten(1))
        return out

    def steps(self, features: Features) -> tuple[Tensor, Tensor]:
        """Map tokens (B, S, in_width) to what was in each bin (B, bins, channels), and which bins (B, bins) had a token."""
        place_BS, real_BS = bins_of(features, self.clock)
        x_BSD = self.norm(features.tokens_BSD)
        step_BNC, there_BN = (self._laid if self.score is None else self._attended)(x_BSD, place_BS, real_BS)
        step_BNC = torch.where(there_BN[..., None], step_BNC, self.absent(x_BSD.shape[0]).to(step_BNC.dtype))
        return step_BNC + self.over_time(step_BNC.transpose(1, 2)).transpose(1, 2), there_BN

    def _attended(self, x_BSD: Tensor, place_BS: Tensor, real_BS: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of each bin's tokens by their score (B, bins, channels), and which bins have one."""
        score: nn.Module = self.score  # type: ignore[assignment]
        value_BSC, score_BS = self.value(x_BSD), score(x_BSD)[..., 0].float()
        # A softmax within each bin: the scores' maximum over the row keeps the exponentials finite.
        score_BS = score_BS.masked_fill(~real_BS, -torch.inf)
        weight_BS = (score_BS - score_BS.amax(dim=1, keepdim=True).clamp(min=-1e30)).clamp(min=-30).exp() * real_BS
        total_BN = weight_BS.new_zeros(x_BSD.shape[0], self.clock.bins).scatter_add(1, place_BS, weight_BS)
        summed_BNC = value_BSC.new_zeros(x_BSD.shape[0], self.clock.bins, self.clock.channels).scatter_add(
            1, place_BS[..., None].expand_as(value_BSC), value_BSC * weight_BS[..., None].to(value_BSC.dtype)
        )
        return summed_BNC / total_BN.clamp(min=1e-20)[..., None].to(value_BSC.dtype), total_BN > 0

    def _laid(self, x_BSD: Tensor, place_BS: Tensor, real_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Each bin's first tokens side by side, mapped to (B, bins, channels), and which bins have one."""
        rows, _, width = x_BSD.shape
        bins, slots = self.clock.bins, self.clock.slots
        one_BSN = torch.zeros(*place_BS.shape, bins, device=x_BSD.device).scatter(2, place_BS[..., None], real_BS[..., None].float())
        number_BS = (one_BSN.cumsum(dim=1).gather(2, place_BS[..., None])[..., 0] - 1).long()
        kept_BS = real_BS & (number_BS < slots)
        # Whatever is not kept goes to one cell behind the last.
        cell_BS = torch.where(kept_BS, place_BS * slots + number_BS.clamp(min=0), torch.full_like(place_BS, bins * slots))
        laid_BKD = x_BSD.new_zeros(rows, bins * slots + 1, width).scatter(1, cell_BS[..., None].expand_as(x_BSD), x_BSD)
        value_BNC: Tensor = self.value(laid_BKD[:, :-1].reshape(rows, bins, slots * width))
        return value_BNC, one_BSN.sum(dim=1) > 0


def bins_of(features: Features, clock: Clock) -> tuple[Tensor, Tensor]:
    """The bin of each token (B, S) int64, and which tokens (B, S) are in one."""
    bin_BS = (features.times_BS.float() / clock.bin_s).floor().long()
    return bin_BS.clamp(0, clock.bins - 1), features.mask_BS & (bin_BS >= 0) & (bin_BS < clock.bins)


class Tower(nn.Module):
    """Streams of one modality to one vector, not yet of length one.

    Args:
        widths: stream -> D of the tokens that are attended.
        clocked: stream -> D of the tokens that the clock reads, and the clock; streams without one are left out.
        head: what is trained.
        out_width: D of the shared space.
    """

    def __init__(self, widths: Mapping[str, int], clocked: Mapping[str, tuple[int, Clock]], head: Head, out_width: int) -> None:
        super().__init__()
        self.pools = nn.ModuleDict({n: _Pool(w, head) for n, w in widths.items()})
        self.clocks = nn.ModuleDict({n: ClockPool(w, head.width, clock) for n, (w, clock) in clocked.items()})
        sizes = {n: head.queries * head.width + (head.width if n in clocked else 0) for n in widths}
        self.names = tuple(sizes)
        self.absent = nn.ModuleDict({n: Latents(1, size) for n, size in sizes.items()}) if len(sizes) > 1 else nn.ModuleDict()
        total = sum(sizes.values())
        inner: list[nn.Module] = [nn.LayerNorm(total), nn.Dropout(head.dropout)]
        for _ in range(head.layers - 1):
            inner += [nn.Linear(total, out_width), nn.GELU()]
            total = out_width
        self.projection = nn.Sequential(*inner, nn.Linear(total, out_width))

    def forward(self, tokens: Mapping[str, Features], timed: Mapping[str, Features]) -> tuple[Tensor, Tensor]:
        """Map stream -> tokens (B, S, D), and those of the clocks, to vectors (B, out_width) and which rows (B,) have a stream at all.

        Of a tower of several streams some may be left out; no row has them.
        """
        parts, there = [], []
        rows = next(iter(tokens.values())).mask_BS.shape[0]
        for name in self.names:
            if name not in tokens:
                parts.append(self.absent[name](rows)[:, 0])
                continue
            part_BD = self.pools[name](tokens[name])
            if name in self.clocks:
                part_BD = torch.cat([part_BD, self.clocks[name](timed[name])], dim=-1)
            has_B = tokens[name].mask_BS.any(dim=1)
            if name in self.absent:
                part_BD = torch.where(has_B[:, None], part_BD, self.absent[name](part_BD.shape[0])[:, 0].to(part_BD.dtype))
            parts.append(part_BD)
            there.append(has_B)
        return self.projection(torch.cat(parts, dim=-1)), torch.stack(there).any(dim=0)
