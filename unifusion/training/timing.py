"""What is heard at each moment is told from what is seen then: the picture's clock learns the sound's features, moment by moment.

A contrast of whole clips says that a sound and a picture belong together, not when: where all they share is the movement of lips, it finds
nothing to begin with. Frozen features of the sound are a teacher that the picture always has with it (Owens et al., "Ambient Sound
Provides Supervision for Visual Learning", 2016; Aytar et al., "SoundNet", 2016, the other way round).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.models.aligner import Aligner
from unifusion.models.towers import Clock, ClockPool, bins_of

__all__ = ["Timing"]

log = logging.getLogger(__name__)


class Timing(nn.Module):
    """Heads that tell a frozen sound's features from the steps of the pictures' clocks; they serve the loss and are no part of a model.

    Args:
        model: with a frozen stream of sound that has a clock, and a stream of pictures with a clock of bins as long or longer.

    Raises:
        ConfigError: it has none.
    """

    def __init__(self, model: Aligner) -> None:
        super().__init__()
        streams = model.config.streams
        clocked = {n: s for n, s in streams.items() if s.timing is not None}
        heard = [n for n, s in clocked.items() if s.spec.modality == "audio" and n not in model.live]
        seen = [n for n, s in clocked.items() if s.spec.modality in ("video", "image")]
        if not heard or not seen:
            found = f"timing needs a clock of a picture and one of a frozen sound; streams with clocks: {', '.join(clocked) or 'none'};"
            raise ConfigError(found, remedy="give both a clock: {bin_s: .., bins: ..}, or leave the weight of timing at 0.")
        self.heard, self.fine = heard[0], _timing(streams[heard[0]].timing)
        self.clocks = {n: _timing(streams[n].timing) for n in seen}
        self.parts_of = {n: max(1, round(c.bin_s / self.fine.bin_s)) for n, c in self.clocks.items()}
        self.width = model.width_of(self.heard)
        sizes = {n: (c.channels, self.parts_of[n] * self.width) for n, c in self.clocks.items()}
        self.heads = nn.ModuleDict({n: nn.Sequential(nn.LayerNorm(c), nn.Linear(c, told)) for n, (c, told) in sizes.items()})
        log.info("timing: %s", ", ".join(f"{n} tells {k} moments of {self.heard} in {c.bin_s:g} s" for (n, c), k in self._each()))

    def _each(self) -> list[tuple[tuple[str, Clock], int]]:
        """Streams with their clocks and how many moments a step tells."""
        return [((n, c), self.parts_of[n]) for n, c in self.clocks.items()]

    def forward(self, pools: Mapping[str, ClockPool], read: Mapping[str, tuple[Features, Features]]) -> tuple[Tensor, Tensor]:
        """The sum of squared errors of each row (B,), a mean over features, and of how many moments (B,).

        Args:
            pools: the clocks of the streams.
            read: stream -> adapted tokens, and the encoder's own (B, S, D), of `Aligner.read`.
        """
        first = next(iter(read.values()))[1].tokens_BSD
        off_B, count_B = first.new_zeros(len(first), dtype=torch.float32), first.new_zeros(len(first), dtype=torch.float32)
        for (name, clock), parts in self._each():
            if name not in read or self.heard not in read:
                continue
            step_BNC, seen_BN = pools[name].steps(read[name][1])
            told_BND = self.heads[name](step_BNC).float().unflatten(2, (parts, self.width)).flatten(1, 2)
            fine = Clock(bin_s=clock.bin_s / parts, bins=clock.bins * parts)
            target_BND, heard_BN = means_of(read[self.heard][1], fine)
            both_BN = (seen_BN.repeat_interleave(parts, dim=1) & heard_BN).float()
            off_BN = (told_BND - target_BND).square().mean(dim=-1)
            off_B, count_B = off_B + (off_BN * both_BN).sum(dim=1), count_B + both_BN.sum(dim=1)
        return off_B, count_B


def _timing(clock: Clock | None) -> Clock:
    """A clock that is there."""
    if clock is None:
        raise ConfigError("a stream without a clock;", remedy="give it one.")
    return clock


@torch.no_grad()
def means_of(features: Features, clock: Clock) -> tuple[Tensor, Tensor]:
    """The mean of each bin's tokens (B, bins, D), each token normalised over its features before, and which bins (B, bins) have one."""
    place_BS, real_BS = bins_of(features, clock)
    x_BSD = F.layer_norm(features.tokens_BSD.float(), features.tokens_BSD.shape[-1:]) * real_BS[..., None]
    total_BN = x_BSD.new_zeros(len(x_BSD), clock.bins).scatter_add(1, place_BS, real_BS.float())
    sum_BND = x_BSD.new_zeros(len(x_BSD), clock.bins, x_BSD.shape[2]).scatter_add(1, place_BS[..., None].expand_as(x_BSD), x_BSD)
    return sum_BND / total_BN.clamp(min=1)[..., None], total_BN > 0
