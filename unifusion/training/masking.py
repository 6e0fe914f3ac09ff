"""What of a batch is hidden in masked modelling: moments of streams, patches of inputs, words.

All draws are functions of a number of each row, so that chunks, processes and runs that go on hide the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unifusion.batch import Features
from unifusion.encoders._texts import BYTES_FROM, tokenizer_of
from unifusion.errors import ConfigError, nearest

__all__ = ["FORMS", "Masking", "hidden_moments", "hidden_patches", "hide_words", "patch_places", "seen_part", "whole_streams"]

FORMS = ("regression", "cosine", "contrast")
_MASKED, _RANDOM = 0.8, 0.9
"""Of the words that are told: eight of ten are masked, one is another word, one stays (Devlin et al., "BERT", 2018)."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How much is hidden, and what tells it.

    Attributes:
        share: of a stream's moments.
        span_s: seconds of a moment.
        whole: probability of a row that one of its streams is hidden as a whole.
        words: share of the tokens of a text.
        patches: share of the patches of inputs of trained encoders; 0 tells no pixels.
        form: how features are told: regression, cosine, contrast.
        layers: of the transformer over all streams.
    """

    share: float = 0.4
    span_s: float = 0.5
    whole: float = 0.15
    words: float = 0.2
    patches: float = 0.4
    form: str = "regression"
    layers: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for key in ("share", "whole", "words", "patches"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"masking: {key} is {getattr(self, key)};", remedy="take a share from 0 to below 1.")
        if self.span_s <= 0 or self.layers < 1:
            found = f"masking: moments of {self.span_s:g} s, {self.layers} layers;"
            raise ConfigError(found, remedy="take moments above 0 s, and 1 layer or more.")
        if self.form not in FORMS:
            raise ConfigError(f"masking: no form {self.form!r};", remedy=nearest(self.form, list(FORMS)))


def _rng(draw: int, *what: str) -> np.random.Generator:
    """The generator of one row for one thing."""
    return np.random.default_rng((int(draw), *(zlib.crc32(w.encode()) for w in what)))


def whole_streams(there: Mapping[str, Sequence[bool]], draws: Sequence[int], p: float) -> dict[str, list[bool]]:
    """Which rows hide which stream as a whole: one of those that are there, with probability `p`, where there is another."""
    out = {name: [False] * len(draws) for name in there}
    for row, draw in enumerate(draws):
        own = [name for name, has in there.items() if has[row]]
        rng = _rng(draw, "whole")
        happens, which = rng.random(2).tolist()
        if len(own) > 1 and happens < p:
            out[own[int(which * len(own))]][row] = True
    return out


def hidden_moments(features: Features, draws: Sequence[int], name: str, *, share: float, span_s: float) -> Tensor:
    """Tokens (B, S) bool that lie in hidden moments: spans of `span_s` on a fixed grid, about `share` of them.

    At least one moment of a row is hidden and one is seen; a row of one moment hides tokens of it, one of a single token nothing.
    """
    times_BS = features.times_BS.detach().float().cpu().numpy()
    mask_BS = features.mask_BS.cpu().numpy()
    out_BS = np.zeros(mask_BS.shape, dtype=bool)
    for row, draw in enumerate(draws):
        own = np.flatnonzero(mask_BS[row])
        if len(own) < 2:
            continue
        unit = np.maximum(np.floor(times_BS[row, own] / span_s), 0).astype(np.int64)
        if unit.min() == unit.max():
            unit = np.arange(len(own))
        chance = _rng(draw, name).random(int(unit.max()) + 1)
        some = np.unique(unit)
        level = float(np.clip(share, np.min(chance[some]) + 1e-12, np.max(chance[some])))
        out_BS[row, own] = chance[unit] < level
    return torch.from_numpy(out_BS).to(features.mask_BS.device)


def seen_part(
    read: Mapping[str, tuple[Features, Features]], draws: Sequence[int], view: str, *, share: float, span_s: float = 0.5
) -> dict[str, tuple[Features, Features]]:
    """A view of rows: some moments of each stream are absent, and of rows with several streams now and then one of them (half `share`).

    Args:
        read: stream -> adapted tokens (B, S, D) and the encoder's own; the same moments are left out of both.
        draws: a number a row.
        view: its name; another view is another draw.
        share: of the moments.
        span_s: seconds of a moment.
    """
    there = {name: adapted.mask_BS.any(dim=1).tolist() for name, (adapted, _) in read.items()}
    gone = whole_streams(there, [_mixed(d, view) for d in draws], share / 2)
    out = {}
    for name, pair in read.items():
        absent_B1 = torch.tensor(gone[name], device=pair[0].mask_BS.device)[:, None]
        kept = []
        for features in pair:
            hidden_BS = hidden_moments(features, [_mixed(d, view) for d in draws], name, share=share, span_s=span_s)
            mask_BS = features.mask_BS & ~hidden_BS & ~absent_B1
            kept.append(Features(tokens_BSD=features.tokens_BSD, mask_BS=mask_BS, times_BS=features.times_BS))
        out[name] = (kept[0], kept[1])
    return out


def _mixed(draw: int, view: str) -> int:
    """Another number of a row."""
    return (int(draw) ^ (zlib.crc32(view.encode()) << 16)) & (2**62 - 1)


def patch_places(shape: Sequence[int], tokens: int, tubelet: int = 1) -> Tensor | None:
    """Where the numbers of each token's own patch lie in one chunk of an encoder's input, (tokens, P); None where tokens are no grid.

    Pictures (channels, H, W) are cut into squares row by row, pictures of a clip (T, channels, H, W) into squares of `tubelet` frames,
    bands of sound (F, T) into T / tokens steps. A class token before the grid has a patch of nothing: its places are -1.
    """
    index = torch.arange(math.prod(shape)).reshape(*shape)
    if len(shape) == 2:
        return index.reshape(shape[0], tokens, -1).transpose(0, 1).flatten(1) if shape[1] % tokens == 0 else None
    tubes, left = (1, 0) if len(shape) == 3 else divmod(shape[0], tubelet)
    if len(shape) not in (3, 4) or left or not tubes:
        return None
    for lead in (0, 1) if tubes == 1 else (0,):
        side = math.isqrt(max((tokens - lead) // tubes, 0))
        if side and side * side * tubes == tokens - lead and not shape[-1] % side and not shape[-2] % side:
            cut = index.reshape(tubes, -1, side, shape[-2] // side, side, shape[-1] // side)
            places = cut.permute(0, 2, 4, 1, 3, 5).reshape(tokens - lead, -1)
            return torch.cat([torch.full((lead, places.shape[1]), -1), places])
    return None


def hidden_patches(chunks: Sequence[int], tokens: int, draws: Sequence[int], whole: Sequence[bool], name: str, share: float) -> Tensor:
    """Which patches (C, tokens) bool of M clips of `chunks` chunks are hidden; all of those that are hidden `whole`."""
    parts = []
    for count, draw, all_of_it in zip(chunks, draws, whole, strict=True):
        chance = _rng(draw, name, "patches").random((int(count), tokens))
        parts.append(np.ones_like(chance, dtype=bool) if all_of_it else chance < max(share, float(chance.min()) + 1e-12))
    return torch.from_numpy(np.concatenate(parts))


def hide_words(batch: Mapping[str, Any], config: Any, draws: Sequence[int], name: str, share: float) -> tuple[Tensor, Tensor]:
    """Tokens of texts with some of them hidden, and which are to be told: (C, L) int64 and (C, L) bool.

    At least one token of each text is told; what begins and ends a window is not.

    Args:
        batch: of a text stream: `input_ids`, `attention_mask` (C, L), `chunks` (M,).
        config: choices of the encoder, that name its tokenizer.
        draws: a number for each of the M texts.
        name: of the stream.
        share: of the tokens.
    """
    ids_CL, tokenizer = batch["input_ids"].cpu().numpy(), tokenizer_of(config)
    special = list(range(BYTES_FROM)) if tokenizer is None else list(tokenizer.all_special_ids)
    blank = BYTES_FROM - 1 if tokenizer is None else next(
        (i for i in (tokenizer.mask_token_id, tokenizer.unk_token_id) if i is not None), None
    )  # fmt: skip
    if blank is None:
        raise ConfigError(f"the tokenizer of stream {name!r} has no token for what is masked;", remedy="set masking: {words: 0}.")
    usual = np.setdiff1d(np.arange(int(config.backbone["vocab_size"]) if tokenizer is None else len(tokenizer)), special)
    words_CL = batch["attention_mask"].cpu().numpy().astype(bool) & ~np.isin(ids_CL, special)
    shown_CL, told_CL, first = ids_CL.copy(), np.zeros_like(words_CL), 0
    for count, draw in zip(batch["chunks"].tolist(), draws, strict=True):
        span, rng = slice(first, first + count), _rng(draw, name, "words")
        # By place: a text is padded as far as the longest beside it, and is to have the same draws beside any.
        chance, kind, other = np.moveaxis(rng.random((count, ids_CL.shape[1], 3)), 2, 0)
        own = chance[words_CL[span]]
        told = words_CL[span] & (chance < max(share, float(own.min()) + 1e-12 if own.size else 0.0))
        ids = np.where(kind < _MASKED, blank, np.where(kind < _RANDOM, usual[(other * len(usual)).astype(np.int64)], ids_CL[span]))
        shown_CL[span] = np.where(told, ids, ids_CL[span])
        told_CL[span] = told
        first += count
    device = batch["input_ids"].device
    return torch.from_numpy(shown_CL).to(device), torch.from_numpy(told_CL).to(device)
