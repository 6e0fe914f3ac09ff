"""The contract of an adapter: features in, tokens at the language model's width out, times kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unifusion.batch import Features
from unifusion.errors import ConfigError

__all__ = ["Adapter", "FusedAdapter", "centres", "whole_clip_times"]


def whole_clip_times(times_S: Tensor, mask_S: Tensor, n_tokens: int) -> Tensor:
    """Return the centre of an item's real tokens `n_tokens` times (Q,) float32; empty when it has none."""
    real = times_S[mask_S].float()
    if not len(real):
        return real
    return ((real.min() + real.max()) / 2).repeat(n_tokens)


def centres(features: Features, n_tokens: int) -> tuple[Tensor, Tensor]:
    """Return (times, mask), both (B, Q): `whole_clip_times` of each item, by operations that hang on shapes alone."""
    times_BS, mask_BS = features.times_BS.float(), features.mask_BS
    there_B1 = mask_BS.any(dim=1, keepdim=True)
    least_B1 = times_BS.masked_fill(~mask_BS, torch.inf).amin(dim=1, keepdim=True)
    most_B1 = times_BS.masked_fill(~mask_BS, -torch.inf).amax(dim=1, keepdim=True)
    middle_B1 = torch.where(there_B1, (least_B1 + most_B1) / 2, torch.zeros_like(least_B1))
    return middle_B1.expand(-1, n_tokens), there_B1.expand(-1, n_tokens)


class Adapter(nn.Module):
    """Turns `Features` of an encoder into `Features` at the language model's width.

    How many tokens come out, and when they lie, is a pure function of the features' times and mask: `token_times`. The
    processor calls it without weights to lay out placeholders; `forward` must give exactly that many, in that order.

    What maps to `out_width` is best a submodule `projection`: of an adapter that was aligned it alone is trained anew for a language
    model, and the rest keeps what it tells. Without one the whole adapter starts from nothing there.

    Args:
        in_width: D of the features that come in.
        out_width: D of the language model's embeddings.
        config: this adapter's own choices.
    """

    @dataclass(kw_only=True)
    class Config:
        """Choices of the adapter; subclasses add fields. Plain numbers and strings, written to config.json."""

    windowed: ClassVar[bool] = True
    """False: the tokens stand for the whole clip; they are laid out in one block before the first window."""

    def __init__(self, in_width: int, out_width: int, config: Any) -> None:
        super().__init__()
        self.in_width, self.out_width, self.config = in_width, out_width, config

    @classmethod
    @abstractmethod
    def tiny(cls) -> Any:
        """Return a Config of a few thousand weights, for tests and documentation."""

    @classmethod
    @abstractmethod
    def token_times(cls, config: Any, times_S: Tensor, mask_S: Tensor) -> Tensor:
        """Return the times (Q,) float32 of the tokens that `forward` gives for one item's feature times and mask.

        Ascending within the item. For an adapter that is not `windowed`, the centre of the clip, Q times.
        """

    @classmethod
    def n_tokens(cls, config: Any, times_S: Tensor, mask_S: Tensor) -> int:
        """Tokens that one item becomes."""
        return len(cls.token_times(config, times_S, mask_S))

    @abstractmethod
    def forward(self, features: Features) -> Features:
        """Map features (B, S, in_width) to tokens (B, Q, out_width) with mask (B, Q) and times (B, Q).

        Real tokens of item b are exactly `token_times(config, times[b], mask[b])`, in that order, before any padding.
        """

    def traced(self, features: Features, max_seconds: float) -> Features:
        """Like `forward`, by operations that hang on shapes alone and not on values, as an exported graph must.

        Args:
            features: tokens (B, S, D), mask (B, S), times (B, S), real ones first and ascending.
            max_seconds: longest clip.

        Returns:
            The same real tokens with the same times, (B, Q, D), padding anywhere among them.

        Raises:
            ConfigError: this adapter has no such form.
        """
        del features, max_seconds
        found = f"the adapter {type(self).__name__} counts its tokens from what the features hold;"
        raise ConfigError(found, remedy="a graph cannot: train with windowed_qformer, perceiver, qformer, mlp, linear, or none.")

    def attention(self, features: Features) -> Tensor | None:
        """How much the adapter's queries look at each feature, (B, S) float32, summing to at most 1 an item; None: it has no queries."""
        del features
        return None

    def output_times(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return (times_BQ, mask_BQ) of the output, padded to the longest item."""
        rows = [self.token_times(self.config, t, m) for t, m in zip(features.times_BS.cpu(), features.mask_BS.cpu(), strict=True)]
        longest = max((len(r) for r in rows), default=0)
        times = torch.zeros(len(rows), longest)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for i, row in enumerate(rows):
            times[i, : len(row)] = row
            mask[i, : len(row)] = True
        device = features.tokens_BSD.device
        return times.to(device), mask.to(device)


class FusedAdapter(nn.Module):
    """Turns the features of several streams of a clip together into a fixed number of tokens, beside what each stream gives by itself.

    The tokens stand for the whole clip: they are laid out in one block before the first window, for every clip that has one of the streams.

    Args:
        in_widths: stream name -> D of its features.
        out_width: D of the language model's embeddings.
        config: this adapter's own choices.
    """

    @dataclass(kw_only=True)
    class Config:
        """Choices of the adapter; subclasses add fields. Plain numbers and strings, written to config.json."""

    def __init__(self, in_widths: Mapping[str, int], out_width: int, config: Any) -> None:
        super().__init__()
        self.in_widths, self.out_width, self.config = dict(in_widths), out_width, config

    @classmethod
    @abstractmethod
    def tiny(cls) -> Any:
        """Return a Config of a few thousand weights, for tests and documentation."""

    @classmethod
    @abstractmethod
    def n_tokens(cls, config: Any) -> int:
        """Tokens that a clip becomes."""

    @abstractmethod
    def forward(self, parts: Mapping[str, Features], places: Mapping[str, Tensor]) -> Tensor:
        """Map features to tokens (M, Q, out_width) of M clips.

        Args:
            parts: stream name -> its features (N, S, D), of the N clips of the batch that have it; a stream no clip has is left out.
            places: stream name -> (M,) int64, which of the N each clip is; -1 where the clip lacks the stream.
        """
