"""Attention of packed conversations: each token sees its own conversation and nothing else.

Four ways, and which one a language model takes is found by trying (`separates`), not by its name:

| way | when | what does it |
|---|---|---|
| `segments` | it lets its attention be replaced | `attend` below: each conversation by itself, no mask, nothing computed in vain |
| `varlen` | it runs by flash-attention | transformers' varlen route, told where conversations begin (never run on a GPU) |
| `positions` | anything else | transformers' masks, which read conversations from positions that start again (`masking_utils`) |
| none | it is recurrent, convolves over time or counts positions itself | refused: what came before would leak in |

transformers 5.23 is right by positions for 21 of 31 families tried, sliding and chunked windows included; OPT, Falcon, MPT and BLOOM
do not ask for positions when they make their masks, Mamba, RWKV, RecurrentGemma, Qwen3-Next and LFM2 carry a state, gpt-oss differs too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from unifusion.errors import ConfigError
from unifusion.processor.packing import Segments

__all__ = ["NAME", "attend", "packed_attention", "packed_inputs", "replaced_attention", "separates"]

NAME = "unifusion_segments"
_PROBE = Segments(lengths=(5, 1, 3))
_KNOWN = "_unifusion_separates"
"""Attribute of a language model: attention implementation -> what `separates` found."""
_UNSUPPORTED = ("s_aux", "position_bias")
"""Arguments of an attention function that change it beyond window and cap: sinks, learned biases."""


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
    dropout: float = 0.0, segments: Segments | None = None, sliding_window: int | None = None, softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """Transformers' attention function; q (B, H, S, d), k and v (B, H_kv, S, d) to (B, S, H, d).

    With `segments` B is 1 and attention is that of each segment alone. On one core of a CPU the fused kernel without a mask takes half
    to nine tenths of the time of attention written out, at 16 to 1,024 tokens (measured).

    Raises:
        ConfigError: the model wants something of its attention that is not done here.
    """
    odd = [name for name in _UNSUPPORTED if kwargs.get(name) is not None]
    if odd:
        raise ConfigError(f"attention with {odd[0]} is not done by segments;", remedy="use the model's own attention.")
    if segments is None and attention_mask is not None and not attention_mask.numel():
        raise ConfigError(
            "positions start again within a sequence but no segments were given;", remedy="call the chat model, not its part."
        )
    if segments is None and softcap is None:
        plain: Any = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, sliding_window=sliding_window, **kwargs
        )
        return plain[0], None
    shared = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, shared), repeat_kv(value, shared)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if segments is None:
        if attention_mask is None:
            attention_mask = _causal(query.shape[2], key.shape[2], None, query.device)
        return _alone(query, key, value, attention_mask, scale, dropout, softcap).transpose(1, 2), None
    sizes = [count * length for count, length in segments.runs]
    out = []
    parts = (x[0].split(sizes, dim=1) for x in (query, key, value))  # one gradient for all pieces, where a slice has one each
    for (count, length), *piece in zip(segments.runs, *parts, strict=True):
        q, k, v = (x.unflatten(1, (count, length)).transpose(0, 1) for x in piece)  # (count, H, L, d)
        narrow = sliding_window is not None and sliding_window < length
        mask = _causal(length, length, sliding_window, query.device) if narrow or softcap is not None else None
        out.append(_alone(q, k, v, mask, scale, dropout, softcap).transpose(1, 2).flatten(0, 1))
    return torch.cat(out)[None], None


def _causal(queries: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """Where a token may look (queries, keys): back, `window` tokens far with its own; the last query stands at the last key."""
    at, to = torch.arange(keys - queries, keys, device=device)[:, None], torch.arange(keys, device=device)
    return (to <= at) if window is None else (to <= at) & (to > at - window)


def _alone(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float, dropout: float, softcap: float | None) -> Tensor:
    """Attention (N, H, L, d), causal without a mask; a cap on the scores is written out, no fused kernel has one."""
    if softcap is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale, is_causal=mask is None)
    scores = softcap * torch.tanh((q @ k.transpose(-1, -2)) * scale / softcap)
    scores = (
        scores.masked_fill(~mask, float("-inf"))
        if mask is not None and mask.dtype == torch.bool
        else scores + (0 if mask is None else mask)
    )
    return torch.dropout(scores.softmax(-1, dtype=torch.float32).to(v.dtype), dropout, train=dropout > 0) @ v


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The mask that goes with `attend`: that of sdpa, but for packed positions nothing is made but a mark, a tensor without elements.

    Packed positions are all that makes transformers forbid skipping the mask of a sequence without padding and cache.
    """
    whole = kwargs.get("attention_mask") is None and kwargs.get("q_length") == kwargs.get("kv_length")
    if whole and not kwargs.get("allow_is_causal_skip", True) and not kwargs.get("use_vmap", False):
        return torch.empty(0)
    mask: Tensor | None = sdpa_mask(*args, **kwargs)
    return mask


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _mask)


@contextmanager
def replaced_attention(language_model: Any, name: str) -> Iterator[None]:
    """Let a language model attend by the registered function `name` for a while."""
    before = language_model.config._attn_implementation
    language_model.set_attn_implementation(name)
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


@contextmanager
def packed_attention(language_model: Any) -> Iterator[str]:
    """Let a language model take packed batches for a while, the fastest way it can; yields the way's name (see the module).

    Recomputation under gradient checkpointing attends again in the backward pass, so the whole of training belongs inside. Batches that
    are not packed are attended to as by sdpa meanwhile.

    Raises:
        ConfigError: no way keeps conversations apart.
    """
    if _is_flash(language_model):
        _refuse_unless_separate(language_model)
        yield "varlen"
    elif _by_segments(language_model):
        with replaced_attention(language_model, NAME):
            yield "segments"
    else:
        _refuse_unless_separate(language_model)
        yield "positions"


def _is_flash(language_model: Any) -> bool:
    """Whether a language model runs by flash-attention."""
    return "flash_attention" in str(language_model.config._attn_implementation)


def _by_segments(language_model: Any) -> bool:
    """Whether attention by segments can take the place of a language model's own.

    What runs by flash-attention hands its windows to the function that attends; attention in chunks would need a mask.
    """
    able = getattr(language_model, "_supports_attention_backend", False) and getattr(language_model, "_supports_flash_attn", False)
    if not able or getattr(language_model.config, "attention_chunk_size", None):
        return False
    with replaced_attention(language_model, NAME):
        return separates(language_model)


def _refuse_unless_separate(language_model: Any) -> None:
    """Raise where conversations in one sequence would see each other."""
    if not separates(language_model):
        raise ConfigError(
            f"{type(language_model).__name__} lets what stands before in a sequence leak into the next conversation;",
            remedy="train it on padded batches (processor.collate), sorted by length.",
        )


def packed_inputs(language_model: Any, segments: Segments) -> dict[str, Any]:
    """What a language model must be told, beside positions, to keep `segments` apart the way it attends now.

    Raises:
        ConfigError: it does not keep them apart.
    """
    _refuse_unless_separate(language_model)  # also for one conversation: with ZeRO-3 all ranks must try at the same step
    if language_model.config._attn_implementation == NAME:
        return {"segments": segments}
    if _is_flash(language_model):
        edges = segments.edges.to(language_model.device)
        longest = max(segments.lengths)
        return {"cu_seq_lens_q": edges, "cu_seq_lens_k": edges, "max_length_q": longest, "max_length_k": longest}
    return {}


def separates(language_model: Any) -> bool:
    """Whether packed conversations come out as alone, the way the model attends now; tried once for each way, on three short ones.

    Two things must hold: what stands before changes nothing (to rounding, also in half precision), and each is what it is alone.
    """
    known: dict[str, bool] = language_model.__dict__.setdefault(_KNOWN, {})
    way = str(language_model.config._attn_implementation)
    if way not in known:
        training = language_model.training
        language_model.eval()
        try:
            with torch.no_grad():
                known[way] = _separates(language_model, own=way == NAME)
        except (ConfigError, TypeError):  # it takes no positions, or wants of its attention what is not done here
            known[way] = False
        finally:
            language_model.train(training)
    return known[way]


def _separates(language_model: Any, *, own: bool) -> bool:
    """Try it; raises what the model raises."""
    weight = language_model.get_input_embeddings().weight
    width = next(language_model.get_input_embeddings().parameters()).shape[-1]  # peft may have wrapped them
    seed = torch.Generator().manual_seed(0)
    total = sum(_PROBE.lengths)
    one_TD, other_TD = (torch.randn(total, width, generator=seed).to(weight) for _ in range(2))
    mixed_TD = torch.cat([other_TD[: _PROBE.lengths[0]], one_TD[_PROBE.lengths[0] :]])
    positions = torch.cat([torch.arange(n, device=weight.device) for n in _PROBE.lengths])[None]
    told = {"segments": _PROBE} if own else {}
    full = weight.dtype in (torch.float32, torch.float64)
    cast = full and _is_flash(language_model)  # its kernels take no others, and whole weights are trained with them under autocast

    def run(embeds_TD: Tensor, **inputs: Any) -> Tensor:
        """Logits (T, V)."""
        autocast = torch.autocast(weight.device.type, torch.bfloat16) if cast else nullcontext()  # not every back end knows autocast
        with autocast:
            out: Tensor = language_model(inputs_embeds=embeds_TD[None], use_cache=False, **inputs).logits[0].float()
        return out

    packed_TV, moved_TV = (run(x, position_ids=positions, **told) for x in (one_TD, mixed_TD))
    alone_TV = torch.cat([run(x) for x in one_TD.split(list(_PROBE.lengths))])
    after = slice(_PROBE.lengths[0], None)
    scale = float(alone_TV.abs().max())
    leak, error = float((packed_TV - moved_TV)[after].abs().max()), float((packed_TV - alone_TV).abs().max())
    full = full and not cast
    return leak <= (1e-5 if full else 1e-2) * scale and error <= (1e-4 if full else 0.1) * scale
