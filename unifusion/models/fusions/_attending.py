"""What fusions read by: encoder blocks with dropout, attention from stream to stream, a query for each output, and what it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from unifusion.layers import MLP, Attention, Latents
from unifusion.models.fusions._streams import Steps
from unifusion.models.fusions.fusion import Inputs

__all__ = ["CrossModal", "ReadOut", "SelfBlock", "Stack", "attention_weights", "joined", "parted"]


def joined(streams: Mapping[str, Steps], extra_BFD: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """All streams' steps behind each other, then tokens that are always there: (B, S, D) and mask (B, S)."""
    tokens, masks = [s.tokens_BND for s in streams.values()], [s.mask_BN for s in streams.values()]
    if extra_BFD is not None:
        tokens, masks = [*tokens, extra_BFD], [*masks, extra_BFD.new_ones(extra_BFD.shape[:2], dtype=torch.bool)]
    dtype = tokens[0].dtype
    return torch.cat([t.to(dtype) for t in tokens], dim=1), torch.cat(masks, dim=1)


def parted(streams: Mapping[str, Steps], weights_BS: Tensor, inputs: Inputs) -> dict[str, Tensor]:
    """Weights (B, S) over what `joined` gave, spread over the own tokens of each stream of the batch; what went elsewhere is left out."""
    sizes = [s.mask_BN.shape[1] for s in streams.values()]
    parts = weights_BS[:, : sum(sizes)].split(sizes, dim=1)
    return {n: s.spread(part) for (n, s), part in zip(streams.items(), parts, strict=True) if n in inputs.streams}


def attention_weights(attention: Attention, x_BQD: Tensor, context_BSE: Tensor, mask_BS: Tensor) -> Tensor:
    """How much each query looks at each token, (B, Q, S) float32, the mean over heads; nothing where an item has no real token."""
    return attention.weights(x_BQD, context_BSE, mask_BS)


class SelfBlock(nn.Module):
    """A pre-norm encoder layer: self-attention, then MLP, dropout on both.

    Args:
        width: D.
        n_heads: heads.
        dropout: on what is added.
        ff_mult: hidden width of the MLP in widths; 0 for no MLP.
    """

    def __init__(self, width: int, n_heads: int, dropout: float, ff_mult: int = 4) -> None:
        super().__init__()
        self.norm_self, self.attention = nn.LayerNorm(width), Attention(width, n_heads)
        self.think = nn.Sequential(nn.LayerNorm(width), MLP(width, ff_mult * width, width)) if ff_mult else None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Map tokens (B, S, D) with mask (B, S) to (B, S, D)."""
        looked_BSD = self.norm_self(x_BSD)
        x_BSD = x_BSD + self.dropout(self.attention(looked_BSD, looked_BSD, mask_BS))
        return x_BSD if self.think is None else x_BSD + self.dropout(self.think(x_BSD))


class Stack(nn.ModuleList):
    """Blocks that map tokens (B, S, D) with mask (B, S) to (B, S, D), one after the other."""

    def forward(self, x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Map tokens (B, S, D) with mask (B, S) to (B, S, D)."""
        for block in self:
            x_BSD = block(x_BSD, mask_BS)
        return x_BSD


class CrossModal(nn.Module):
    """Each stream attends to all the others, then thinks. A row with one stream alone goes through as if there were no others.

    Args:
        streams: names.
        width: D.
        n_heads: heads.
        dropout: on what is added.
    """

    def __init__(self, streams: Sequence[str], width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        several = len(streams) > 1
        self.norms = nn.ModuleDict({n: nn.LayerNorm(width) for n in streams if several})
        self.attentions = nn.ModuleDict({n: Attention(width, n_heads) for n in streams if several})
        self.think = nn.ModuleDict({n: nn.Sequential(nn.LayerNorm(width), MLP(width, 4 * width, width)) for n in streams})
        self.dropout = nn.Dropout(dropout)

    def forward(self, streams: Mapping[str, Steps]) -> dict[str, Steps]:
        """Map stream -> steps (B, N, D) to the same, of every stream with the others in mind."""
        looked = {n: self.norms[n](s.tokens_BND) if self.norms else s.tokens_BND for n, s in streams.items()}
        out = {}
        for name, steps in streams.items():
            tokens_BND = steps.tokens_BND
            if self.norms:
                others = [n for n in streams if n != name]
                context_BSD = torch.cat([looked[n] for n in others], dim=1)
                mask_BS = torch.cat([streams[n].mask_BN for n in others], dim=1)
                seen_BND = self.attentions[name](looked[name], context_BSD, mask_BS)
                tokens_BND = tokens_BND + self.dropout(seen_BND.masked_fill(~mask_BS.any(dim=1)[:, None, None], 0.0))
            out[name] = replace(steps, tokens_BND=tokens_BND + self.dropout(self.think[name](tokens_BND)))
        return out


class ReadOut(nn.Module):
    """A learned query for each output attends over tokens, then thinks.

    Args:
        names: of the outputs.
        width: D.
        n_heads: heads.
        dropout: on what is added.
    """

    def __init__(self, names: Sequence[str], width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.names = tuple(names)
        self.queries = Latents(len(self.names), width)
        self.norm_query, self.norm_tokens, self.norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, n_heads)
        self.think = nn.Sequential(nn.LayerNorm(width), MLP(width, 2 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_BSD: Tensor, mask_BS: Tensor, summary_BD: Tensor | None = None) -> dict[str, Tensor]:
        """Map tokens (B, S, D) with mask (B, S), and what is known of them already (B, D), to output -> (B, D)."""
        x_BQD = self._asked(len(tokens_BSD), summary_BD)
        x_BQD = x_BQD + self.dropout(self.attention(self.norm_query(x_BQD), self.norm_tokens(tokens_BSD), mask_BS))
        x_BQD = self.norm(x_BQD + self.dropout(self.think(x_BQD)))
        return {name: x_BQD[:, i] for i, name in enumerate(self.names)}

    def weights(self, tokens_BSD: Tensor, mask_BS: Tensor, summary_BD: Tensor | None = None) -> Tensor:
        """How much the first output looks at each token (B, S)."""
        x_BQD = self.norm_query(self._asked(len(tokens_BSD), summary_BD))
        return attention_weights(self.attention, x_BQD[:, :1], self.norm_tokens(tokens_BSD), mask_BS)[:, 0]

    def _asked(self, rows: int, summary_BD: Tensor | None) -> Tensor:
        """The queries (B, Q, D)."""
        asked_BQD: Tensor = self.queries(rows)
        return asked_BQD if summary_BD is None else asked_BQD + summary_BD[:, None]
