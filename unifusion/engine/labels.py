"""Label scoring: how likely is each label as the whole answer, over one shared prefix."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from unifusion.engine.answers import LabelScores
from unifusion.engine.decoding import new_cache
from unifusion.errors import ConfigError
from unifusion.models.reading import Heard
from unifusion.processor import Conversing, Row

__all__ = ["score_batch", "score_labels", "score_labels_slowly"]


def label_ids(processor: Conversing, label: str) -> list[int]:
    """Ids of a label as an answer: its text, then the token that ends an answer."""
    return [*processor.text.user(label), processor.text.control(processor.format.assistant_end)[0]]


def score_labels(model: Any, processor: Conversing, row: Row, labels: Sequence[str]) -> LabelScores:
    """Score `labels` after the prompt `row`: see `score_batch`."""
    return score_batch(model, processor, [row], [labels])[0]


@torch.no_grad()
def score_batch(
    model: Any, processor: Conversing, rows: Sequence[Row], labels: Sequence[Sequence[str]], *, most: int = 2**30,
    read: Callable[[DynamicCache], Heard] | None = None,
) -> list[LabelScores]:  # fmt: skip
    """Score each row's labels after its prompt: one prefill of all rows, then one pass over labels of as many rows as fit.

    A prompt costs its tokens once instead of once per label; log-probabilities equal those of full prompts, one at a time (1e-4).

    Args:
        model: the chat model.
        processor: the one that fits it.
        rows: prompts with their clips.
        labels: of each row.
        read: feeds the prompts into a cache another way than all of them as one batch.
        most: bytes that copies of the prompts' keys and values may take in the second pass; a row's labels are never parted.

    Raises:
        ConfigError: no labels, or two that are the same.
    """
    for choices in labels:
        if not choices or len(set(choices)) != len(choices):
            raise ConfigError(f"cannot score the labels {list(choices)};", remedy="give two or more different labels.")
    candidates = [[label_ids(processor, label) for label in choices] for choices in labels]
    cache = new_cache(model)
    heard = model.read(processor.collate(rows, side="left").to(model.device), cache) if read is None else read(cache)
    first_BV = heard.logits_BV.float().log_softmax(-1)
    scores: list[list[float]] = []
    at_once = max(1, most // (max(map(len, candidates)) * _bytes(cache) // len(rows)))
    for start in range(0, len(rows), at_once):
        some = range(start, min(start + at_once, len(rows)))
        owner_N = torch.tensor([i for i in some for _ in candidates[i]], device=model.device)
        ids = [c for i in some for c in candidates[i]]
        told_N = first_BV[owner_N, torch.tensor([c[0] for c in ids], device=model.device)]
        if max(map(len, ids)) > 1:
            state = (_chosen(cache, owner_N), heard.mask_BS[owner_N], heard.last_B[owner_N])
            told_N = told_N + _continued(model, ids, state, processor.tokenizer.pad_token_id)
        scores += [part.tolist() for part in told_N.split([len(candidates[i]) for i in some])]
    return [
        LabelScores(labels=tuple(choices), log_probs=tuple(own), report=row.report)
        for row, choices, own in zip(rows, labels, scores, strict=True)
    ]  # fmt: skip


def _bytes(cache: DynamicCache) -> int:
    """What it holds takes: keys and values, and states of layers that have those instead."""
    kept = [v for layer in cache.layers for v in vars(layer).values()]
    held = [t for v in kept for t in (v.values() if isinstance(v, dict) else (v,)) if isinstance(t, Tensor)]
    return sum(t.numel() * t.element_size() for t in held)


def _chosen(cache: DynamicCache, index_N: Tensor) -> DynamicCache:
    """A cache with copies of some rows of another, which stays as it is."""
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in own.layers:  # states of a recurrent or convolving layer lie in dictionaries, which are written into
        vars(layer).update({k: dict(v) for k, v in vars(layer).items() if isinstance(v, dict)})
    own.reorder_cache(index_N)
    return own


def _continued(model: Any, ids: Sequence[Sequence[int]], state: tuple[DynamicCache, Tensor, Tensor], pad: int) -> Tensor:
    """Log-likelihoods (N,) of all tokens of some labels but the first.

    Args:
        model: the chat model.
        ids: of each label.
        state: what was fed before each: the cache, which positions are real (N, S), and the last one's number (N,).
        pad: any id, for labels shorter than the longest.
    """
    cache, mask_NS, last_N = state
    longest = max(map(len, ids))
    padded_NL = torch.tensor([[*c, *[pad] * (longest - len(c))] for c in ids], device=model.device)
    real_NL = torch.tensor([[i < len(c) for i in range(1, longest)] for c in ids], device=model.device)
    positions_NL = last_N[:, None] + real_NL.cumsum(-1)  # of padding, one of its row: a learned table of positions may end there
    logits = model.go_on(padded_NL[:, :-1], torch.cat([mask_NS, torch.ones_like(real_NL)], -1), positions_NL, cache)
    steps_NL = logits.float().log_softmax(-1).gather(-1, padded_NL[:, 1:, None])[..., 0]
    told_N: Tensor = (steps_NL * real_NL).sum(-1)
    return told_N


@torch.no_grad()
def score_labels_slowly(model: Any, processor: Conversing, row: Row, labels: Sequence[str]) -> LabelScores:
    """The same by one full prompt per label: what `score_labels` is measured and tested against."""
    scores = []
    for label in labels:
        ids = label_ids(processor, label)
        whole = replace(row, ids=row.ids + ids, labels=row.labels + ids)
        logits = model.logits(processor.collate([whole]).to(model.device))[0, len(row.ids) - 1 : -1]
        scores.append(float(logits.float().log_softmax(-1).gather(-1, torch.tensor(ids, device=model.device)[:, None]).sum()))
    return LabelScores(labels=tuple(labels), log_probs=tuple(scores), report=row.report)
