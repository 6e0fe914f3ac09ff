"""Label scoring: how likely is each label as the whole answer, over one shared prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from unifusion.engine.answers import LabelScores
from unifusion.engine.decoding import new_cache
from unifusion.errors import ConfigError
from unifusion.processor import Row, UniFusionProcessor

__all__ = ["score_labels", "score_labels_slowly"]


def label_ids(processor: UniFusionProcessor, label: str) -> list[int]:
    """Ids of a label as an answer: its text, then the token that ends an answer."""
    return [*processor.text.user(label), processor.text.control(processor.format.assistant_end)[0]]


@torch.no_grad()
def score_labels(model: Any, processor: UniFusionProcessor, row: Row, labels: Sequence[str]) -> LabelScores:
    """Score `labels` after the prompt `row`: one prefill, then one pass over all labels together.

    The prompt costs its tokens once instead of once per label; log-probabilities equal full prompts' (1e-4).

    Raises:
        ConfigError: no labels, or two that are the same.
    """
    if not labels or len(set(labels)) != len(labels):
        raise ConfigError(f"cannot score the labels {list(labels)};", remedy="give two or more different labels.")
    candidates = [label_ids(processor, label) for label in labels]
    batch = processor.collate([row]).to(model.device)
    cache = new_cache(model)
    embeds = model.embed(batch["input_ids"], batch["media"])
    first = model(inputs_embeds=embeds, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float().log_softmax(-1)
    longest = max(map(len, candidates))
    scores = torch.stack([first[0, ids[0]] for ids in candidates])
    if longest > 1:
        cache.batch_repeat_interleave(len(labels))
        ids = torch.tensor([c + [processor.tokenizer.pad_token_id] * (longest - len(c)) for c in candidates], device=model.device)
        logits = model(inputs_embeds=model.get_input_embeddings()(ids[:, :-1]), past_key_values=cache, use_cache=True).logits
        steps = logits.float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        real = torch.tensor([[i + 1 < len(c) for i in range(longest - 1)] for c in candidates], device=model.device)
        scores = scores + (steps * real).sum(-1)
    return LabelScores(labels=tuple(labels), log_probs=tuple(scores.tolist()), report=row.report)


@torch.no_grad()
def score_labels_slowly(model: Any, processor: UniFusionProcessor, row: Row, labels: Sequence[str]) -> LabelScores:
    """The same by one full prompt per label: what `score_labels` is measured and tested against."""
    scores = []
    for label in labels:
        ids = label_ids(processor, label)
        whole = Row(ids=row.ids + ids, labels=row.labels + ids, media=row.media)
        batch = processor.collate([whole]).to(model.device)
        logits = model(input_ids=batch["input_ids"], media=batch["media"]).logits[0, len(row.ids) - 1 : -1]
        scores.append(float(logits.float().log_softmax(-1).gather(-1, torch.tensor(ids, device=model.device)[:, None]).sum()))
    return LabelScores(labels=tuple(labels), log_probs=tuple(scores), report=row.report)
