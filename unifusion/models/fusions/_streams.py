"""Streams of any width and rate as steps of one width: averaged in time, projected, with their second and their stream's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.layers import Latents, time_embedding
from unifusion.models.fusions._metadata import MetadataEmbedding, MetadataFields
from unifusion.models.fusions.fusion import Inputs, StreamShape

__all__ = ["Metadata", "Projection", "Steps", "in_steps", "rows_of", "stream_features"]


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Groups of a stream's tokens, ascending in time, before any padding.

    Attributes:
        tokens_BND: their means; zero where there is none, until a projection adds to them.
        mask_BN: which are real. N is at least 1.
        times_BN: mean seconds.
        step_BS: int64, the step each of the stream's own tokens went into; -1 for one that is not real.
        count_BN: how many went into each.
    """

    tokens_BND: Tensor
    mask_BN: Tensor
    times_BN: Tensor
    step_BS: Tensor
    count_BN: Tensor

    def spread(self, weights_BN: Tensor) -> Tensor:
        """Share the weights of steps (B, N) out among their tokens (B, S); one that is not real gets none."""
        each_BN = weights_BN.float() / self.count_BN.clamp(min=1)
        return each_BN.gather(1, self.step_BS.clamp(min=0)).masked_fill(self.step_BS < 0, 0.0)


def in_steps(features: Features, most: int, dtype: torch.dtype) -> Steps:
    """Average features (B, S, D) in time to at most `most` steps a row, each row by its own clock.

    Tokens of one moment (the patches of a frame) are one step; where there are more moments than steps, a row's time is cut into `most`
    equal pieces. Tokens that all share one moment (a picture, words without a clock) are taken in their order, in equal groups.

    Args:
        features: of one stream.
        most: steps a row; 0 makes every real token a step.
        dtype: of the averages.
    """
    step_BS = _numbered(features, most)
    rows, longest = len(step_BS), max(int(step_BS.max()) + 1 if step_BS.numel() else 0, 1)
    real_BS = step_BS >= 0
    # What is not real, a NaN too, goes into one sum more, which is thrown away.
    places_S = (step_BS + longest * torch.arange(rows, device=step_BS.device)[:, None]).masked_fill(~real_BS, rows * longest).flatten()

    def summed(x: Tensor) -> Tensor:
        """Sum what goes into each step: (B x S, ..) to (B, N, ..)."""
        total = x.new_zeros(rows * longest + 1, *x.shape[1:]).index_add_(0, places_S, x)
        each: Tensor = total[:-1].unflatten(0, (rows, longest))
        return each

    count_BN = summed(real_BS.flatten().long())
    tokens_SD, times_S = features.tokens_BSD.to(dtype).flatten(0, 1), features.times_BS.float().flatten()
    per_BN = count_BN.clamp(min=1)
    return Steps(
        tokens_BND=summed(tokens_SD) / per_BN[..., None].to(dtype), mask_BN=count_BN > 0, times_BN=summed(times_S) / per_BN,
        step_BS=step_BS, count_BN=count_BN,
    )  # fmt: skip


def _numbered(features: Features, most: int) -> Tensor:
    """The number of each token's step (B, S) int64, counted from 0 without gaps in order of time; -1 for one that is not real."""
    mask_BS, times_BS = features.mask_BS, features.times_BS.float()
    if not mask_BS.shape[1]:
        return mask_BS.long()
    order_BS = times_BS.masked_fill(~mask_BS, torch.inf).argsort(dim=1, stable=True)
    real_BS, sorted_BS = mask_BS.gather(1, order_BS), times_BS.gather(1, order_BS)
    n_real_B1 = real_BS.sum(dim=1, keepdim=True)
    rank_BS = torch.arange(mask_BS.shape[1], device=mask_BS.device).expand_as(order_BS)
    if most:
        later_BS = F.pad(sorted_BS[:, 1:] > sorted_BS[:, :-1], (1, 0), value=True) & real_BS
        moment_BS = later_BS.cumsum(dim=1) - 1
        n_moments_B1 = later_BS.sum(dim=1, keepdim=True)
        first_B1, last_B1 = sorted_BS[:, :1], sorted_BS.gather(1, (n_real_B1 - 1).clamp(min=0))
        share_BS = ((sorted_BS - first_B1) / (last_B1 - first_B1)).masked_fill(~(real_BS & (n_moments_B1 > 1)), 0.0)
        piece_BS = (share_BS * most).long().clamp(max=most - 1)
        group_BS = torch.where(n_real_B1 > most, rank_BS * most // n_real_B1.clamp(min=1), rank_BS)
        key_BS = torch.where(n_moments_B1 > 1, torch.where(n_moments_B1 > most, piece_BS, moment_BS), group_BS)
        rank_BS = F.pad(key_BS[:, 1:] > key_BS[:, :-1], (1, 0)).long().cumsum(dim=1)
    return torch.full_like(order_BS, -1).scatter(1, order_BS, rank_BS.masked_fill(~real_BS, -1))


def rows_of(inputs: Inputs) -> int:
    """B.

    Raises:
        ConfigError: a batch of no stream and no metadata, or streams and metadata of unequal numbers of rows.
    """
    found = {len(f.mask_BS) for f in inputs.streams.values()} | {len(v) for v in (inputs.metadata or {}).values()}
    if len(found) != 1:
        raise ConfigError(
            f"streams and metadata of {' and '.join(str(n) for n in sorted(found)) or 'no'} rows;",
            remedy="give every stream of the batch the same rows, and at least one of them, if need be with a mask that is all false.",
        )
    return found.pop()


def stream_features(inputs: Inputs, shapes: Mapping[str, StreamShape], device: torch.device) -> dict[str, Features]:
    """Each stream of a model in the model's order; one that the batch leaves out has no tokens (B, 0, D).

    Raises:
        ConfigError: a stream the model has not, or features of another width.
    """
    rows = rows_of(inputs)
    unknown = [n for n in inputs.streams if n not in shapes]
    if unknown:
        raise ConfigError(f"features of a stream {unknown[0]!r};", remedy=f"this model has {', '.join(shapes)}.")
    found = {}
    for name, shape in shapes.items():
        given = inputs.streams.get(name)
        if given is None:
            empty_B0 = torch.zeros(rows, 0, device=device)
            given = Features(empty_B0.new_zeros(rows, 0, shape.width), empty_B0.bool(), empty_B0)
        if given.tokens_BSD.shape[-1] != shape.width:
            raise ConfigError(
                f"features of stream {name!r} are {given.tokens_BSD.shape[-1]} wide, the model was built for {shape.width};",
                remedy="give those of the encoder that the model was trained with.",
            )
        found[name] = given
    return found


class Projection(nn.Module):
    """Streams as steps of one width: each averaged in time, normalised, projected, with its second and its stream's own vector added.

    Args:
        shapes: the streams.
        width: D of the steps.
        most: steps a stream; 0 for all its tokens.
        dropout: on the projected steps.
        clocked: whether a step's second is added.
        absent: give a row that lacks a stream one learned step of it, for networks that need a value where nothing is.
    """

    def __init__(
        self, shapes: Mapping[str, StreamShape], width: int, *, most: int, dropout: float, clocked: bool = True, absent: bool = False
    ) -> None:
        super().__init__()
        self.shapes, self.most, self.width, self.clocked = dict(shapes), most, width, clocked
        self.norms = nn.ModuleDict({n: nn.LayerNorm(s.width) for n, s in shapes.items()})
        self.projections = nn.ModuleDict({n: nn.Linear(s.width, width) for n, s in shapes.items()})
        self.names = Latents(len(shapes), width)
        self.absent = Latents(len(shapes), width) if absent else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Inputs) -> dict[str, Steps]:
        """Map streams of (B, S, own width) to stream -> steps (B, N, D)."""
        return self.project(self.averaged(inputs))

    def averaged(self, inputs: Inputs) -> dict[str, Steps]:
        """Streams as steps of their own width, before anything is learned of them."""
        weight = self.names.weight
        return {n: in_steps(f, self.most, weight.dtype) for n, f in stream_features(inputs, self.shapes, weight.device).items()}

    def project(
        self, averaged: Mapping[str, Steps], hidden: Mapping[str, Tensor] | None = None, in_place: Tensor | None = None
    ) -> dict[str, Steps]:
        """Project what `averaged` gave.

        Args:
            averaged: stream -> steps (B, N, own width).
            hidden: stream -> (B, N), steps whose content is not to be seen.
            in_place: (D,) what stands for them.
        """
        out = {}
        for i, (name, steps) in enumerate(averaged.items()):
            tokens_BND = self.projections[name](self.norms[name](steps.tokens_BND))
            if hidden is not None and in_place is not None:
                tokens_BND = torch.where(hidden[name][..., None], in_place.to(tokens_BND.dtype), tokens_BND)
            if self.clocked:
                stamp_BND = time_embedding(steps.times_BN, self.width, shortest_s=0.25, longest_s=1000.0)
                tokens_BND = tokens_BND + stamp_BND.to(tokens_BND.dtype)
            steps = replace(steps, tokens_BND=self.dropout(tokens_BND + self.names.weight[i]))
            out[name] = steps if self.absent is None else _with_absent(steps, self.absent.weight[i])
        return out


def _with_absent(steps: Steps, absent_D: Tensor) -> Steps:
    """Put a learned step where a row has none; it stands for no token, so that nothing is spread from it."""
    lacks_BN = F.pad(~steps.mask_BN.any(dim=1, keepdim=True), (0, steps.mask_BN.shape[1] - 1))
    tokens_BND = torch.where(lacks_BN[..., None], absent_D.to(steps.tokens_BND.dtype), steps.tokens_BND)
    return replace(steps, tokens_BND=tokens_BND, mask_BN=steps.mask_BN | lacks_BN)


class Metadata(nn.Module):
    """One token of width D for each field that is known of a row; no tokens for a model without fields.

    Args:
        fields: which; None for none.
        width: D.
    """

    def __init__(self, fields: MetadataFields | None, width: int) -> None:
        super().__init__()
        self.width, self.fields = width, fields
        self.embedding = None if fields is None else MetadataEmbedding(fields, width)

    def forward(self, inputs: Inputs, like: Tensor) -> Tensor:
        """Return tokens (B, F, D) on the device and of the type of `like`; a batch without metadata has every field unknown.

        Raises:
            ConfigError: metadata for a model that was built without.
        """
        rows = rows_of(inputs)
        if self.embedding is None or self.fields is None:
            if inputs.metadata is not None:
                raise ConfigError("metadata for a model built without;", remedy="leave it out, or build the model with metadata fields.")
            return like.new_zeros(rows, 0, self.width)
        known = self.fields.encode([{}] * rows) if inputs.metadata is None else inputs.metadata
        tokens_BFD: Tensor = self.embedding({k: v.to(like.device) for k, v in known.items()})
        return tokens_BFD.to(like.dtype)
