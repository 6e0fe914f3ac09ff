"""The decode loop: greedy or sampled, one row or many, with a cache; and text from ids as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from unifusion.errors import ConfigError
from unifusion.models.reading import Heard

__all__ = ["Sampling", "decode_batch", "decode_one", "new_cache", "text_deltas"]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy, the default: the same question gives the same answer."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def new_cache(model: Any) -> DynamicCache:
    """An empty cache of the shape the language model wants.

    Raises:
        ConfigError: it keeps a recurrent state and no keys and values (Mamba and its like), so turns cannot be appended.
    """
    cache = DynamicCache(config=model.language_model.config)
    try:
        cache.get_seq_length()
    except ValueError as error:
        kind = model.language_model.config.model_type
        raise ConfigError(
            f"a {kind} language model keeps no keys and values;", remedy="choose one with attention to answer with."
        ) from error
    return cache


def choose(logits_BV: Tensor, forbidden: Sequence[int], sampling: Sampling, generator: torch.Generator | None) -> Tensor:
    """Return the next token (B,) from logits (B, V); forbidden ids (placeholders) are never chosen."""
    logits_BV = logits_BV.float()
    logits_BV[:, list(forbidden)] = -torch.inf
    if sampling.temperature <= 0:
        return logits_BV.argmax(-1)
    probabilities = torch.softmax(logits_BV / sampling.temperature, -1)
    ordered, index = probabilities.sort(-1, descending=True)
    ordered = torch.where(ordered.cumsum(-1) - ordered < sampling.top_p, ordered, 0.0)
    shares = (ordered / ordered.sum(-1, keepdim=True)).cpu()  # where the generator is: a seed draws the same on every device
    picked = torch.multinomial(shares, 1, generator=generator).to(index.device)
    return index.gather(-1, picked)[:, 0]


@torch.no_grad()
def decode_one(
    model: Any, batch: Any, cache: DynamicCache, *, end_ids: Sequence[int], max_new_tokens: int, sampling: Sampling = Sampling()
) -> Iterator[int]:  # fmt: skip
    """Feed what is new of one row (a batch of one) after what `cache` holds, then yield tokens until an end id or the limit.

    An end id is yielded too and is not fed. The cache then holds everything that was fed: all but the last token yielded.
    """
    forbidden = sorted(model.config.placeholder_ids.values())
    generator = torch.Generator().manual_seed(sampling.seed) if sampling.temperature > 0 else None
    heard = model.read(batch, cache)
    logits, position = heard.logits_BV, heard.last_B
    for step in range(max_new_tokens):
        token = choose(logits, forbidden, sampling, generator)
        yield int(token)
        if int(token) in end_ids or step == max_new_tokens - 1:
            return
        position = position + 1
        logits = model.go_on(token[:, None], None, position[:, None], cache)[:, -1]


@torch.no_grad()
def decode_batch(
    model: Any, batch: Any, *, end_ids: Sequence[int], max_new_tokens: Sequence[int], pad_id: int, sampling: Sampling = Sampling(),
    watch: Callable[[list[list[int]], list[bool]], bool] | None = None, read: Callable[[DynamicCache], Heard] | None = None,
) -> list[list[int]]:  # fmt: skip
    """Decode all rows of a padded batch (either side) together, each to its own `max_new_tokens`; returns each row's new ids.

    `read` feeds the prompts into a cache in another way than as `batch`, which may then be None. An end id is not among them. `watch` is
    shown the ids so far and which rows have ended, after every step; it ends all by False.

    Padding is masked and positions count real tokens only, so a row's answer does not depend on its neighbours.
    """
    cache = new_cache(model)
    heard = model.read(batch, cache) if read is None else read(cache)
    logits, mask, position = heard.logits_BV, heard.mask_BS, heard.last_B
    forbidden = sorted(model.config.placeholder_ids.values())
    generator = torch.Generator().manual_seed(sampling.seed) if sampling.temperature > 0 else None
    ends = torch.tensor(sorted(end_ids), device=mask.device)
    done = torch.zeros(len(mask), dtype=torch.bool, device=mask.device)
    answers: list[list[int]] = [[] for _ in range(len(mask))]
    most = torch.tensor(list(max_new_tokens), device=mask.device)
    for step in range(max(max_new_tokens)):
        token = choose(logits, forbidden, sampling, generator)
        done |= torch.isin(token, ends) | (step >= most)
        for row in torch.nonzero(~done)[:, 0].tolist():
            answers[row].append(int(token[row]))
        if watch is not None and not watch(answers, done.tolist()):
            break
        if bool((done | (step + 1 >= most)).all()):
            break
        token = torch.where(done, pad_id, token)
        position = torch.where(done, position, position + 1)  # a finished row must not walk off a learned position table
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], -1)
        logits = model.go_on(token[:, None], mask, position[:, None], cache)[:, -1]
    return answers


def text_deltas(tokenizer: Any, ids: Iterator[int], end_ids: Sequence[int]) -> Iterator[tuple[str, int]]:
    """Yield (new text, id) for each id; half a character waits for its other half. An end id gives what still waits.

    A character of UTF-8 has at most four bytes, so no more than three replacement characters can be the start of one.
    """
    seen: list[int] = []
    shown = ""
    for token in ids:
        ended = token in end_ids
        seen += [] if ended else [token]
        text = tokenizer.decode(seen, skip_special_tokens=True)
        waiting = 0 if ended else min(3, len(text) - len(text.rstrip("\ufffd")))
        ready = text[: len(text) - waiting]
        delta = ready[len(shown) :] if ready.startswith(shown) else ""
        shown += delta
        yield delta, token
