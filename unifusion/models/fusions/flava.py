"""FLAVA's multimodal encoder over any streams, with its pre-training on clips without labels.

Follows Singh et al., "FLAVA: A Foundational Language And Vision Alignment Model" (2022), through transformers' `FlavaMultimodalModel`: the
streams are projected to its width and stand behind one class token, whose pooled state is the output. FLAVA masks words and pictures'
codes; features of frozen encoders have neither, so what is told of a masked step is its normalised features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import FlavaMultimodalConfig, FlavaMultimodalModel

from unifusion.errors import ConfigError
from unifusion.layers import Latents
from unifusion.models.fusions._attending import joined, parted
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions._streams import Metadata, Projection, Steps
from unifusion.models.fusions.fusion import Fused, Fusion, Inputs, StreamShape

__all__ = ["Flava"]


class _Pretraining(nn.Module):
    """What only pre-training uses: the token in place of a masked step, what tells its features, and whether streams belong together.

    Args:
        shapes: the streams.
        width: D of the network.
    """

    def __init__(self, shapes: Mapping[str, StreamShape], width: int) -> None:
        super().__init__()
        self.masked = Latents(1, width)
        self.told = nn.ModuleDict({n: nn.Linear(width, s.width) for n, s in shapes.items()})
        self.paired = nn.Linear(width, 1)


class Flava(Fusion):
    """Every step attends to every other in all layers. All outputs share the pooled class token."""

    @dataclass(kw_only=True)
    class Config(Fusion.Config):
        """The network's sizes (published: width 768, 6 layers, 12 heads), at most `steps` steps a stream, and pre-training's choices."""

        width: int = 256
        n_layers: int = 4
        n_heads: int = 8
        steps: int = 64
        dropout: float = 0.1
        masked_share: float = 0.3
        """Of every stream's steps, in pre-training."""
        pairing: float = 1.0
        """Weight of telling whether streams belong together, beside masked steps; 0 leaves it out."""

    def __init__(
        self, config: Config, streams: Mapping[str, StreamShape], *, metadata: MetadataFields | None = None,
        outputs: Sequence[str] = ("emotion",),
    ) -> None:  # fmt: skip
        super().__init__(config, streams, metadata=metadata, outputs=outputs)
        if not 0.0 < config.masked_share < 1.0:
            raise ConfigError(f"masked_share {config.masked_share};", remedy="take a share between 0 and 1, such as 0.3.")
        width = config.width
        self.streams = Projection(streams, width, most=config.steps, dropout=config.dropout)
        self.metadata = Metadata(metadata, width)
        shape = FlavaMultimodalConfig(
            hidden_size=width, num_hidden_layers=config.n_layers, num_attention_heads=config.n_heads, intermediate_size=4 * width,
            hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.dropout,
        )  # fmt: skip
        self.network = FlavaMultimodalModel(shape)
        self.pretraining = _Pretraining(streams, width)

    @classmethod
    def tiny(cls) -> Config:
        """One layer of width 16, eight steps a stream."""
        return cls.Config(width=16, n_layers=1, n_heads=2, steps=8, dropout=0.0)

    @property
    def width(self) -> int:
        """D of the outputs."""
        return int(self.config.width)

    def forward(self, inputs: Inputs, *, want_weights: bool = False) -> Fused:
        """Fuse a batch: streams of (B, S, D) to one vector (B, width).

        Weights are the class token's in the last layer, the mean over heads.
        """
        steps = self.streams(inputs)
        states = self._states(steps, inputs, attentions=want_weights)
        seen: dict[str, Tensor] = {}
        if want_weights:
            over_BS = states.attentions[-1][:, :, 0, 1:].float().mean(dim=1)
            seen = parted(steps, over_BS, inputs)
        return Fused(outputs={n: states.pooler_output for n in self.names}, weights=seen)

    def pretrain_loss(self, inputs: Inputs) -> Tensor:
        """A loss () of two parts, drawn by torch's generator: the features of masked steps told from all the rest, and streams told apart.

        The first is the mean square error over normalised features (1.0 is knowing nothing), the mean over streams. In the second, one
        stream of each row is another row's, whose steps end at about the same second, so that lengths hardly tell. Either is 0 where a
        batch has nothing for it; `pairing` needs rows with two streams.
        """
        averaged = self.streams.averaged(inputs)
        hidden = self._drawn(averaged)
        steps = self.streams.project(averaged, hidden, self.pretraining.masked.weight[0])
        states = self._states(steps, inputs)
        errors = []
        for name, guess_BNE in self._guessed(steps, states.last_hidden_state).items():
            truth_BNE = F.layer_norm(averaged[name].tokens_BND.float(), guess_BNE.shape[-1:])
            error_BN = (guess_BNE.float() - truth_BNE).square().mean(dim=-1).masked_fill(~hidden[name], 0.0)
            errors.append(error_BN.sum() / hidden[name].sum().clamp(min=1))
        some = sum(int(h.any()) for h in hidden.values())
        loss: Tensor = torch.stack(errors).sum() / max(some, 1)
        if self.config.pairing:
            loss = loss + self.config.pairing * self._pairing_loss(averaged, states.pooler_output, inputs)
        return loss

    def _states(self, steps: Mapping[str, Steps], inputs: Inputs, *, attentions: bool = False) -> Any:
        """What the network makes of projected steps and metadata behind its class token."""
        tokens_BSD, mask_BS = joined(steps, self.metadata(inputs, next(iter(steps.values())).tokens_BND))
        return self.network(tokens_BSD, attention_mask=F.pad(mask_BS, (1, 0), value=True), output_attentions=attentions)

    def _drawn(self, averaged: Mapping[str, Steps]) -> dict[str, Tensor]:
        """Which steps (B, N) of each stream are masked."""
        share = self.config.masked_share
        return {n: (torch.rand_like(s.times_BN) < share) & s.mask_BN for n, s in averaged.items()}

    def _guessed(self, steps: Mapping[str, Steps], states_BSD: Tensor) -> dict[str, Tensor]:
        """The features told of every step: stream -> (B, N, own width)."""
        sizes = [s.mask_BN.shape[1] for s in steps.values()]
        parts = states_BSD[:, 1 : 1 + sum(sizes)].split(sizes, dim=1)
        return {n: self.pretraining.told[n](part) for n, part in zip(steps, parts, strict=True)}

    def _pairing_loss(self, averaged: Mapping[str, Steps], pooled_BD: Tensor, inputs: Inputs) -> Tensor:
        """Cross-entropy () of rows as they are against rows one stream of which is another row's."""
        there_BK = torch.stack([s.mask_BN.any(dim=1) for s in averaged.values()], dim=1)
        usable_BK = there_BK & (there_BK.sum(dim=1, keepdim=True) > 1)
        choices = (usable_BK.any(dim=0) & (there_BK.sum(dim=0) > 1)).nonzero()[:, 0]
        right_B: Tensor = self.pretraining.paired(pooled_BD)[:, 0].float()
        if not len(choices):
            return right_B.sum() * 0.0
        at = int(choices[torch.randint(len(choices), ())])
        name = list(averaged)[at]
        swapped = {**averaged, name: _swapped(averaged[name])}
        steps = self.streams.project(swapped, self._drawn(swapped), self.pretraining.masked.weight[0])
        wrong_B = self.pretraining.paired(self._states(steps, inputs).pooler_output)[:, 0].float()
        each_B = F.softplus(-right_B) + F.softplus(wrong_B)
        return each_B[usable_BK[:, at]].mean() / 2


def _swapped(steps: Steps) -> Steps:
    """Give each row that has steps those of the next such row in the order of their last second."""
    there_B = steps.mask_BN.any(dim=1)
    ends_B = steps.times_BN.masked_fill(~steps.mask_BN, -torch.inf).amax(dim=1).masked_fill(~there_B, torch.inf)
    order_N = ends_B.argsort(stable=True)[: int(there_B.sum())]
    donor_B = torch.arange(len(there_B), device=there_B.device)
    donor_B[order_N] = order_N.roll(1)
    return replace(steps, tokens_BND=steps.tokens_BND[donor_B], mask_BN=steps.mask_BN[donor_B], times_BN=steps.times_BN[donor_B])
