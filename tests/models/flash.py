"""FlashAttention's kernels written out in torch, with their arguments and their refusals: a GPU is needed for the real ones."""

from itertools import pairwise

import torch
from transformers import modeling_flash_attention_utils as flash_utils


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None, causal=False,
    window_size=(-1, -1), softcap=0.0, deterministic=False,
):  # fmt: skip
    """q (T, H, d), k and v (T, H_kv, d) to (T, H, d); each sequence by itself."""
    if q.dtype not in (torch.float16, torch.bfloat16):
        raise RuntimeError("FlashAttention only support fp16 and bf16 data type")
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32 and cu_seqlens_q.device == q.device
    edges = cu_seqlens_q.tolist()
    assert edges[-1] == len(q) and max(b - a for a, b in pairwise(edges)) == int(max_seqlen_q)
    out = []
    for (first, last), (key_first, key_last) in zip(pairwise(edges), pairwise(cu_seqlens_k.tolist()), strict=True):
        one, keys, values = q[first:last].float(), k[key_first:key_last].float(), v[key_first:key_last].float()
        keys, values = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (keys, values))
        scores = torch.einsum("qhd,khd->hqk", one, keys) * (q.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale)
        scores = softcap * torch.tanh(scores / softcap) if softcap else scores
        behind = torch.arange(len(keys) - len(one), len(keys))[:, None] - torch.arange(len(keys))
        seen = (behind >= 0) | (not causal)
        seen = seen & (behind <= window_size[0]) if window_size[0] >= 0 else seen
        out.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), values))
    return torch.cat(out).to(q.dtype)


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, deterministic=False):
    """q (B, S, H, d), k and v (B, S_kv, H_kv, d) to (B, S, H, d)."""
    edges = [torch.arange(len(x) + 1, dtype=torch.int32) * x.shape[1] for x in (q, k)]
    out = flash_attn_varlen_func(
        q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), *edges, q.shape[1], k.shape[1],
        softmax_scale=softmax_scale, causal=causal, window_size=window_size, softcap=softcap,
    )  # fmt: skip
    return out.unflatten(0, q.shape[:2])


def run_by_flash(monkeypatch, language_model):
    """Let a language model run by them, as with `attn_implementation="flash_attention_2"`."""
    functions = (flash_attn_func, flash_attn_varlen_func, None, flash_utils._pad_input, flash_utils._unpad_input)
    monkeypatch.setattr(flash_utils, "_lazy_imports", lambda *a, **k: functions)
    monkeypatch.setattr(flash_utils, "_loaded_implementation", None)
    for module in language_model.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation_internal = "flash_attention_2"
