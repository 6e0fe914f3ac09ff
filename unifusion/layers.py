"""Blocks that adapters, fusion models and heads share: latents, attention, MLP, latent resampler, time embeddings, time order."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unifusion.batch import Features

__all__ = ["MLP", "Attention", "LatentResampler", "Latents", "in_time_order", "pool_in_time", "pool_traced", "time_embedding"]


def time_embedding(times: Tensor, width: int, *, shortest_s: float, longest_s: float) -> Tensor:
    """Return sines and cosines (.., width) of times (..) in seconds, their periods spread evenly in the logarithm.

    Computed where it is used: a table kept as a non-persistent buffer comes up as garbage under from_pretrained.
    """
    n = width // 2
    periods = torch.logspace(math.log10(shortest_s), math.log10(longest_s), max(n, 1), device=times.device, dtype=torch.float32)
    angles = times.float()[..., None] * (2 * math.pi / periods)
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, width - 2 * n)) if n else torch.zeros_like(times)[..., None]


def in_time_order(features: Features, dtype: torch.dtype | None = None) -> Features:
    """Return the same real tokens, ascending in time (ties keep their order), before any padding, which is cut and zero.

    Args:
        features: tokens (B, S, D), mask (B, S), times (B, S).
        dtype: type of the tokens that come out; None keeps it.

    Returns:
        Features (B, S', D) with S' the most real tokens of any item.
    """
    mask, times, tokens = features.mask_BS, features.times_BS, features.tokens_BSD
    longest = int(mask.sum(dim=1).max()) if mask.numel() else 0
    order_BS = times.masked_fill(~mask, torch.inf).argsort(dim=1, stable=True)[:, :longest]
    if torch.equal(order_BS, torch.arange(longest, device=mask.device).expand_as(order_BS)):
        tokens, times, mask = tokens[:, :longest], times[:, :longest], mask[:, :longest]
    else:
        tokens = tokens.gather(1, order_BS[..., None].expand(-1, -1, tokens.shape[-1]))
        times, mask = times.gather(1, order_BS), mask.gather(1, order_BS)
    tokens = tokens.to(dtype or tokens.dtype).masked_fill(~mask[..., None], 0.0)
    return Features(tokens_BSD=tokens, mask_BS=mask, times_BS=times.masked_fill(~mask, 0.0))


def pool_in_time(features: Features, stride: int, dtype: torch.dtype | None = None) -> Features:
    """Average every `stride` real tokens that follow each other in time; a shorter rest is averaged as it is.

    Features (B, S, D) become (B, ceil(S' / stride), D); a group's time is the mean of its tokens' times.
    """
    ordered = in_time_order(features, dtype)
    if stride == 1:
        return ordered
    rest = -ordered.mask_BS.shape[1] % stride
    mask = F.pad(ordered.mask_BS, (0, rest)).unflatten(1, (-1, stride))
    counts = mask.sum(dim=2).clamp(min=1)
    tokens = F.pad(ordered.tokens_BSD, (0, 0, 0, rest)).unflatten(1, (-1, stride)).sum(dim=2)
    times = F.pad(ordered.times_BS, (0, rest)).unflatten(1, (-1, stride)).sum(dim=2)
    return Features(tokens_BSD=tokens / counts[..., None], mask_BS=mask.any(dim=2), times_BS=times / counts)


def pool_traced(ordered: Features, stride: int) -> Features:
    """`pool_in_time` of features whose real ones come first, ascending in time, by operations that an exported graph can have."""
    if stride == 1:
        return ordered
    mask, dtype = ordered.mask_BS[..., None], ordered.tokens_BSD.dtype
    # A mean over zeros behind the end is a sum; splitting the axis would ask whether the stride divides it.
    both_BSD = [ordered.tokens_BSD.masked_fill(~mask, 0.0), ordered.times_BS[..., None].masked_fill(~mask, 0.0).to(dtype), mask.to(dtype)]
    padded_BDS = F.pad(torch.cat(both_BSD, dim=-1).transpose(1, 2), (0, stride - 1))
    sums_BQD = F.avg_pool1d(padded_BDS, stride).transpose(1, 2) * stride
    counts_BQ = sums_BQD[..., -1].round()
    means_BQD = sums_BQD[..., :-1] / counts_BQ.clamp(min=1)[..., None]
    return Features(tokens_BSD=means_BQD[..., :-1], mask_BS=counts_BQ > 0, times_BS=means_BQD[..., -1].float())


class Latents(nn.Embedding):
    """Learned query tokens (Q, D), normal with deviation 0.02.

    An embedding and not a bare parameter, since `PreTrainedModel._init_weights` knows embeddings: a bare one that a checkpoint
    lacks comes up as garbage from the meta device. Needs no call from a model; `init_weights` is there for others.
    """

    def __init__(self, n_latents: int, width: int) -> None:
        super().__init__(n_latents, width)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the latents anew, unless from_pretrained has just read them (it marks what it read)."""
        if not getattr(self.weight, "_is_hf_initialized", False):
            nn.init.normal_(self.weight, std=0.02)

    def forward(self, rows: int) -> Tensor:  # type: ignore[override]
        """Return the latents (B, Q, D), the same for each of B = `rows` rows."""
        return self.weight.expand(rows, -1, -1)


class MLP(nn.Sequential):
    """Linear, GELU, Linear on the last axis: (.., in_width) to (.., out_width)."""

    def __init__(self, in_width: int, hidden: int, out_width: int) -> None:
        super().__init__(nn.Linear(in_width, hidden), nn.GELU(), nn.Linear(hidden, out_width))


class Attention(nn.Module):
    """Multi-head attention of queries over a context with a key mask.

    The key projection has no bias: it would add the same to every score of a query.

    Args:
        width: D of the queries and the output.
        n_heads: heads.
        context_width: D of the context; None for `width`.
        head_width: width of one head; None for width / n_heads.
        absorb: project the few queries into the context's space and the attended means out of it, instead of projecting every
            context token to keys and values. The same function; for 4 queries of 4 heads over width 192 a twelfth of the work.
    """

    def __init__(
        self, width: int, n_heads: int, *, context_width: int | None = None, head_width: int | None = None, absorb: bool = False
    ) -> None:
        super().__init__()
        if head_width is None and width % n_heads:
            raise ValueError(f"width {width} cannot be split over {n_heads} heads; choose a divisor, or give head_width.")
        self.n_heads, self.absorb = n_heads, absorb
        self.head_width = head_width or width // n_heads
        inner, context_width = self.head_width * n_heads, context_width or width
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(context_width, inner, bias=False)
        self.value = nn.Linear(context_width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, x_BQD: Tensor, context_BSE: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """Map queries (B, Q, D) over a context (B, S, E) with mask (B, S), True where real, to (B, Q, D).

        An item without a real token gives the output's bias alone.
        """
        split = (self.n_heads, self.head_width)
        q_BHQd = self.query(x_BQD).unflatten(-1, split).transpose(1, 2)
        allowed = None if mask_BS is None else _never_empty(mask_BS)[:, None, None, :]
        # A wrapped projection (LoRA, quantised) must be called as a module, so only plain ones are absorbed.
        if self.absorb and type(self.key) is nn.Linear and type(self.value) is nn.Linear:
            found_BHQd = self._absorbed(q_BHQd, context_BSE, allowed)
        else:
            k_BHSd = self.key(context_BSE).unflatten(-1, split).transpose(1, 2)
            v_BHSd = self.value(context_BSE).unflatten(-1, split).transpose(1, 2)
            found_BHQd = F.scaled_dot_product_attention(q_BHQd, k_BHSd, v_BHSd, attn_mask=allowed)
        if mask_BS is not None:
            found_BHQd = found_BHQd * mask_BS.any(dim=1)[:, None, None, None]
        merged: Tensor = self.out(found_BHQd.transpose(1, 2).flatten(2))
        return merged

    def weights(self, x_BQD: Tensor, context_BSE: Tensor, mask_BS: Tensor) -> Tensor:
        """How much each query looks at each token, (B, Q, S) float32, the mean over heads; nothing where an item has no real token."""
        split = (self.n_heads, self.head_width)
        q_BHQd = self.query(x_BQD).unflatten(-1, split).transpose(1, 2)
        k_BHSd = self.key(context_BSE).unflatten(-1, split).transpose(1, 2)
        scores_BHQS = (q_BHQd @ k_BHSd.transpose(-1, -2)).float() * self.head_width**-0.5
        real_B11S = mask_BS[:, None, None]
        weights_BHQS = scores_BHQS.masked_fill(~real_B11S, torch.finfo(torch.float32).min).softmax(dim=-1) * real_B11S
        mean_BQS: Tensor = weights_BHQS.mean(dim=1)
        return mean_BQS

    def _absorbed(self, q_BHQd: Tensor, context_BSE: Tensor, allowed: Tensor | None) -> Tensor:
        """Attend in the context's own space, it being keys and values of one wide head: q (B, H, Q, d) to (B, H, Q, d)."""
        heads, queries = q_BHQd.shape[1:3]
        probes_BHQE = _per_head(q_BHQd, self.key.weight.unflatten(0, (heads, -1)))
        context_B1SE = context_BSE[:, None]
        means_B1PE = F.scaled_dot_product_attention(
            probes_BHQE.flatten(1, 2)[:, None], context_B1SE, context_B1SE, attn_mask=allowed, scale=self.head_width**-0.5
        )
        means_BHQE = means_B1PE.view(context_BSE.shape[0], heads, queries, context_BSE.shape[-1])
        return _per_head(means_BHQE, self.value.weight.unflatten(0, (heads, -1)).transpose(1, 2)) + self.value.bias.view(heads, 1, -1)


def _per_head(x_BHQD: Tensor, weight_HDE: Tensor) -> Tensor:
    """Multiply each head by its own matrix: (B, H, Q, D), (H, D, E) to (B, H, Q, E); plain `@` would copy the matrices B times."""
    rows_and_queries = (x_BHQD.shape[0], x_BHQD.shape[2])
    out_BHQE: Tensor = (x_BHQD.transpose(0, 1).flatten(1, 2) @ weight_HDE).unflatten(1, rows_and_queries).transpose(0, 1)
    return out_BHQE


def _never_empty(mask_BS: Tensor) -> Tensor:
    """Open all keys of an item that has none, so that its softmax (which the caller throws away) is no NaN."""
    return mask_BS | ~mask_BS.any(dim=1, keepdim=True)


class LatentBlock(nn.Module):
    """One pre-norm layer of a resampler: latents look at the context, at each other, and think.

    Args:
        width: D of the latents.
        context_width: D of the context.
        n_heads: heads.
        head_width: width of one head; None for width / n_heads.
        style: `cross`: attention to the context (absorbed), then self-attention, then MLP (a light Q-Former). `concat`: one
            attention to context and latents together, then MLP (Flamingo's Perceiver).
        ff_mult: hidden width of the MLP in widths.
    """

    def __init__(
        self, width: int, context_width: int, n_heads: int, *, head_width: int | None, style: Literal["cross", "concat"], ff_mult: int
    ) -> None:
        super().__init__()
        self.style = style
        self.norm_cross, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = Attention(width, n_heads, context_width=context_width, head_width=head_width, absorb=style == "cross")
        if style == "concat":
            self.norm_context = nn.LayerNorm(context_width)
        else:
            self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, n_heads, head_width=head_width)
        self.mlp = MLP(width, ff_mult * width, width)

    def weights(self, latents_BQD: Tensor, context_BSE: Tensor, mask_BS: Tensor) -> Tensor:
        """How much each latent looks at each token of the context (B, Q, S); the rest, to 1, went to other latents."""
        x = self.norm_cross(latents_BQD)
        if self.style == "cross":
            return self.cross.weights(x, context_BSE, mask_BS)
        both = torch.cat([self.norm_context(context_BSE), x], dim=1)
        return self.cross.weights(x, both, F.pad(mask_BS, (0, x.shape[1]), value=True))[..., : context_BSE.shape[1]]

    def forward(self, latents_BQD: Tensor, context_BSE: Tensor, mask_BS: Tensor) -> Tensor:
        """Map latents (B, Q, D) with a context (B, S, E) and its mask (B, S) to latents (B, Q, D)."""
        x = self.norm_cross(latents_BQD)
        if self.style == "concat":
            both = torch.cat([self.norm_context(context_BSE), x], dim=1)
            latents_BQD = latents_BQD + self.cross(x, both, F.pad(mask_BS, (0, x.shape[1]), value=True))
        else:
            latents_BQD = latents_BQD + self.cross(x, context_BSE, mask_BS)
            x = self.norm_self(latents_BQD)
            latents_BQD = latents_BQD + self.self_attention(x, x)
        out: Tensor = latents_BQD + self.mlp(self.norm_mlp(latents_BQD))
        return out


class LatentResampler(nn.Module):
    """Learned latents that read a context of any length through a stack of `LatentBlock`s; ends in a LayerNorm.

    Args:
        width: D of the latents and the output.
        context_width: E of the context; with style `concat` it must be `width`, since latents are part of the context.
        n_latents: Q.
        n_layers: blocks.
        n_heads: heads.
        head_width: width of one head; None for width / n_heads.
        style: see `LatentBlock`.
        ff_mult: hidden width of the MLPs in widths.
    """

    def __init__(
        self, width: int, context_width: int, *, n_latents: int, n_layers: int, n_heads: int,
        head_width: int | None = None, style: Literal["cross", "concat"] = "cross", ff_mult: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        if style == "concat" and context_width != width:
            raise ValueError(f"with style 'concat' the context's width ({context_width}) must be the latents' ({width}); project it first.")
        self.latents = Latents(n_latents, width)
        self.blocks = nn.ModuleList(
            LatentBlock(width, context_width, n_heads, head_width=head_width, style=style, ff_mult=ff_mult) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, context_BSE: Tensor, mask_BS: Tensor) -> Tensor:
        """Map a context (B, S, E) with mask (B, S) to (B, Q, D)."""
        latents_BQD: Tensor = self.latents(context_BSE.shape[0])
        for block in self.blocks:
            latents_BQD = block(latents_BQD, context_BSE, mask_BS)
        out: Tensor = self.norm(latents_BQD)
        return out

    def weights(self, context_BSE: Tensor, mask_BS: Tensor) -> Tensor:
        """How much each latent looks at each token of the context (B, Q, S), the mean over blocks."""
        latents_BQD: Tensor = self.latents(context_BSE.shape[0])
        looks = []
        for block in self.blocks:
            looks.append(block.weights(latents_BQD, context_BSE, mask_BS))  # type: ignore[operator]
            latents_BQD = block(latents_BQD, context_BSE, mask_BS)
        return torch.stack(looks).mean(dim=0)
