"""Attention of turns that stand apart, without computing what they may not see.

In a row of `collate_turns` seventeen questions share one clip, and three quarters of its attention is masked away. Here the batch is one
flat sequence: all prefixes, then all turns in groups of about equal length; a prefix attends to itself, a turn to its prefix and itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from unifusion.models.segments import replaced_attention
from unifusion.processor import UniFusionProcessor
from unifusion.processor.processor import IGNORED
from unifusion.training.talks import TurnsRow

__all__ = ["Blocks", "collate_blocks", "in_blocks", "takes_blocks"]

NAME = "unifusion_turns"
_WASTE = 0.8
"""A group's shortest turn over its longest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Where prefixes and turns lie in the flat sequence: B prefixes of P tokens, then each group's N turns of L tokens.

    Attributes:
        real_BP: False on the prefixes' padding.
        rows: per group, the prefix (N,) of each turn.
        lengths: per group, L.
    """

    real_BP: Tensor
    rows: tuple[Tensor, ...]
    lengths: tuple[int, ...]

    @cached_property
    def masks(self) -> list[Tensor]:
        """Per group, what a turn may look at: (N, 1, L, P + L). All on the CPU, as the rest."""
        out = []
        for row_N, length in zip(self.rows, self.lengths, strict=True):
            own = torch.ones(length, length, dtype=torch.bool).tril()
            prefix = self.real_BP[row_N][:, None, None].expand(-1, 1, length, -1)
            out.append(torch.cat([prefix, own.expand(len(row_N), 1, -1, -1)], dim=-1))
        return out


def collate_blocks(processor: UniFusionProcessor, rows: Sequence[TurnsRow]) -> dict[str, Any]:
    """One flat sequence (1, T) of all rows, with `blocks`. A row that is a chat is one long turn."""
    pieces: list[tuple[int, int, int]] = []  # row, start, end
    starts = []
    for number, row in enumerate(rows):
        turns = row.turns if row.apart else [min(t, 1) for t in row.turns]
        edges = [i for i in range(len(turns)) if i == 0 or turns[i] != turns[i - 1]]
        starts.append(edges[1] if len(edges) > 1 else len(turns))
        pieces += [(number, a, b) for a, b in zip(edges[1:], [*edges[2:], len(turns)], strict=True)]
    prefix = max(starts)
    groups: list[list[tuple[int, int, int]]] = []
    for piece in sorted(pieces, key=lambda p: p[1] - p[2]):
        longest = groups[-1][0][2] - groups[-1][0][1] if groups else 0
        if piece[2] - piece[1] >= _WASTE * longest > 0:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    laid = [[(number, 0, end) for number, end in enumerate(starts)], *groups]
    lengths = [prefix, *(g[0][2] - g[0][1] for g in groups)]
    total = sum(len(g) * n for g, n in zip(laid, lengths, strict=True))
    ids = torch.full((1, total), processor.tokenizer.pad_token_id, dtype=torch.long)
    labels = torch.full((1, total), IGNORED, dtype=torch.long)
    positions = torch.zeros(1, total, dtype=torch.long)
    at = 0
    for group, length in zip(laid, lengths, strict=True):
        for number, a, b in group:
            row, end = rows[number], at + b - a
            ids[0, at:end] = torch.tensor(row.row.ids[a:b])
            labels[0, at:end] = torch.tensor(row.row.labels[a:b])
            positions[0, at:end] = torch.tensor(row.positions[a:b])
            at += length
    blocks = Blocks(
        real_BP=torch.arange(prefix) < torch.tensor(starts)[:, None],
        rows=tuple(torch.tensor([p[0] for p in g]) for g in groups),
        lengths=tuple(lengths[1:]),
    )
    return {
        "input_ids": ids, "labels": labels, "position_ids": positions, "blocks": blocks,
        "media": processor.media([r.row for r in rows]),
    }  # fmt: skip


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
    dropout: float = 0.0, blocks: Blocks | None = None, **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Transformers' attention function over a flat sequence; q (1, H, T, d), k and v (1, H_kv, T, d) to (1, T, H, d)."""
    if blocks is None:  # not one of our batches
        plain: Any = sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
        return plain[0], plain[1]
    count, prefix = blocks.real_BP.shape
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    shared = query.shape[1] // key.shape[1]
    q_THd, k_THd, v_THd = (x[0].transpose(0, 1) for x in (query, repeat_kv(key, shared), repeat_kv(value, shared)))
    q, k, v = (x[: count * prefix].unflatten(0, (count, prefix)).transpose(1, 2) for x in (q_THd, k_THd, v_THd))  # (B, H, P, d)
    causal = torch.ones(prefix, prefix, dtype=torch.bool, device=q.device).tril()
    out = [_softmax(q, k, v, causal, scale, dropout).transpose(1, 2).flatten(0, 1)]
    at = count * prefix
    for row_N, length, mask in zip(blocks.rows, blocks.lengths, blocks.masks, strict=True):
        end = at + len(row_N) * length
        mine = [x[at:end].unflatten(0, (len(row_N), length)).transpose(1, 2) for x in (q_THd, k_THd, v_THd)]
        chosen_NB = one_hot(row_N, count).to(k)  # a product, whose gradient is one too; that of index_select adds row by row
        keys, values = (
            torch.cat([(chosen_NB @ x.flatten(1)).view(len(row_N), *x.shape[1:]), own], 2) for x, own in ((k, mine[1]), (v, mine[2]))
        )
        out.append(_softmax(mine[0], keys, values, mask.to(q.device), scale, dropout).transpose(1, 2).flatten(0, 1))
        at = end
    return torch.cat(out)[None], None


def _softmax(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, dropout: float) -> Tensor:
    """Attention (.., L, d); on a CPU written out: for many short sequences two to three times as fast as the fused kernel."""
    if q.device.type != "cpu":
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    weights = ((q * scale) @ k.transpose(-1, -2)).masked_fill(~mask, float("-inf")).softmax(-1)
    return torch.dropout(weights, dropout, train=True).to(v.dtype) @ v if dropout else weights.to(v.dtype) @ v


AttentionInterface.register(NAME, attend)


def takes_blocks(language_model: Any) -> bool:
    """Whether a language model lets its attention be replaced, and attends to everything before a token."""
    config = language_model.config
    return bool(getattr(language_model, "_supports_attention_backend", False)) and not getattr(config, "sliding_window", None)


def in_blocks(language_model: Any) -> AbstractContextManager[None]:
    """Let a language model attend by `blocks` for a while."""
    return replaced_attention(language_model, NAME)
