"""What a training step holds in memory, found by going through it on the meta device: every tensor is made, none has data.

Each operation of forward and backward pass is seen with the storages it makes and lets go, so that whatever the language model is, what it
keeps for the backward pass (or does not, with gradient checkpointing) is counted and not guessed. Only attention is replaced, by one that
keeps what fused kernels keep: queries, keys, values, output and one number a query. A 7B model takes seconds.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv

from unifusion.models.head import head_loss
from unifusion.models.hollow import encoder_without_weights, on_meta, zeroed
from unifusion.models.recompute import recompute_frozen
from unifusion.models.segments import replaced_attention

__all__ = ["StepMemory", "adapter_step", "encoder_step", "language_step"]

NAME = "unifusion_budget"
_SCALES = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Choices of a language model by which its logits are not just head(hidden): they are made all at once then."""


@dataclass(kw_only=True)
class StepMemory:
    """Bytes over the course of a step, weights left out.

    Attributes:
        events: (bytes of activations and of what is made in passing, bytes of weights' gradients), each time something is made.
        kept: bytes alive between forward and backward pass.
    """

    events: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    kept: int = 0

    def peak(self, gradient: float = 1.0) -> int:
        """Most bytes at once, where a byte of the weights' gradients counts as `gradient` (1/N of N devices with ZeRO-2)."""
        return int(max(a + gradient * g for a, g in self.events))


class _Live(TorchDispatchMode):
    """Counts storages while they live."""

    def __init__(self, known: Iterator[Tensor]) -> None:
        super().__init__()
        self.memory = StepMemory()
        self.now, self.gradients = 0, 0
        self._seen: dict[int, Any] = {}
        self._weights = [t.untyped_storage() for t in known]
        self._foreign = {s._cdata for s in self._weights}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and look at what it made."""
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._look(tensor)
        return out

    def _look(self, tensor: Tensor) -> None:
        """Count a storage that is new, until it goes."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen or key in self._foreign:
            return
        size = storage.nbytes()
        self._seen[key] = weakref.finalize(storage, self._gone, key, size)
        self.now += size
        self.memory.events.append((self.now, self.gradients))

    def _gone(self, key: int, size: int) -> None:
        """A storage was let go."""
        if self._seen.pop(key, None) is not None:
            self.now -= size

    def keep_gradient(self, parameter: nn.Parameter) -> None:
        """A weight's gradient is whole: it stays until the optimizer has run."""
        if parameter.grad is not None:
            storage = parameter.grad.untyped_storage()
            known = self._seen.pop(storage._cdata, None)
            if known is not None:
                known.detach()
                self.now -= storage.nbytes()
            self._foreign.add(storage._cdata)
            self._weights.append(storage)
            self.gradients += storage.nbytes()
            self.memory.events.append((self.now, self.gradients))


@contextmanager
def _watch(*modules: nn.Module) -> Iterator[_Live]:
    """Count what is made in the block; the modules' weights are not, their gradients are apart."""
    weights = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    live = _Live(iter(weights))
    hooks = [p.register_post_accumulate_grad_hook(live.keep_gradient) for p in {id(w): w for w in weights}.values() if p.requires_grad]
    try:
        with live:
            yield live
    finally:
        for hook in hooks:
            hook.remove()
        for weight in weights:
            weight.grad = None


class _Fused(torch.autograd.Function):
    """Attention as fused kernels keep it, without a result."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Map q (B, H, S, d), v (B, H, S, e) to (B, H, S, e)."""
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out, q.new_empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the inputs' shapes."""
        q, k, v = ctx.saved_tensors[:3]
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _attend(module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    """Transformers' attention function for `_Fused`."""
    shared = query.shape[1] // key.shape[1]
    out: Tensor = _Fused.apply(query, repeat_kv(key, shared), repeat_kv(value, shared))
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, _attend)


def language_step(
    language_model: Any, tokens: int, labelled: int, *, checkpointing: bool = False, dtype: torch.dtype | None = None
) -> StepMemory:
    """Go through one step of a language model on a sequence of `tokens`, of which `labelled` are supervised.

    Args:
        language_model: on any device; a copy on meta is used.
        dtype: what it computes in; None takes that of its weights.
    """
    lm = on_meta(language_model)
    lm.train(any(p.requires_grad for p in lm.parameters()))  # the chat model leaves a frozen part in eval mode
    if dtype is not None:
        lm = lm.to(dtype)
    if checkpointing:
        lm.activation_checkpointing_enable()
        if not lm.training:
            recompute_frozen(lm)
    fused = bool(getattr(lm, "_supports_attention_backend", False))
    mask = None if fused else torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device="meta")
    width = next(lm.get_input_embeddings().parameters()).shape[-1]  # peft may have wrapped them
    kind = lm.get_input_embeddings().weight.dtype
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    with replaced_attention(lm, NAME if fused else "eager"), _watch(lm) as live:
        media = torch.zeros(1, tokens, width, dtype=kind, device="meta").requires_grad_()  # what adapters give
        embeds = lm.get_input_embeddings()(ids) + media
        hidden = lm.get_decoder()(inputs_embeds=embeds, attention_mask=mask, use_cache=False).last_hidden_state
        targets = torch.zeros(labelled, dtype=torch.long, device="meta")
        rows, head = hidden[0, :labelled].clone(), lm.get_output_embeddings()
        capped = any(getattr(lm.config, name, None) not in (None, 1.0) for name in _SCALES)
        loss = functional.cross_entropy(head(rows).float() * 1.0, targets) if capped else head_loss(head, rows, targets)
        live.memory.kept = live.now
        loss.backward()
    return live.memory


def adapter_step(adapter: nn.Module, inputs: Any, *others: Any) -> StepMemory:
    """Go through an adapter's step on real features (their times decide what it does); its weights are made up, on the CPU.

    Args:
        adapter: on any device.
        inputs: what its `forward` takes first, on the CPU; `others` follow.
    """
    own = zeroed(adapter).train()
    with _watch(own) as live:
        out = own(inputs, *others)
        live.memory.kept = live.now
        loss = (out if isinstance(out, Tensor) else out.tokens_BSD).sum()
        if loss.requires_grad:
            loss.backward()
    return live.memory


def encoder_step(encoder: Any, tensors: Mapping[str, Tensor]) -> StepMemory:
    """Go through an encoder on tensors (C, ..) as `preprocess` makes them; with a backward pass where it is trained."""
    own, inputs = encoder_without_weights(encoder, tensors)
    trained = any(p.requires_grad for p in own.parameters())
    with torch.set_grad_enabled(trained), _watch(own) as live:
        out = own.encode_chunks(**inputs)
        live.memory.kept = live.now
        if trained:
            out.sum().backward()
    return live.memory
