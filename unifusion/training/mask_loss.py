"""Masked modelling over the streams of an embedding model: what is hidden of one is told from the rest of it and from the others.

After Singh et al., "FLAVA" (2022), and Wang et al., "BEiT-3" (2022); what is told of a frozen encoder's stream is its features,
normalised per token (Baevski et al., "data2vec", 2022), of words their numbers, of a trained encoder's stream the patches of its own
input (Gong et al., "CAV-MAE", 2023, with the hidden patches shown as grey as in Xie et al., "SimMIM", 2022). Tokens go through the towers'
own pools, so that what is learned here is what the towers see.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from unifusion.batch import Features
from unifusion.encoders.encoder import blank_input
from unifusion.errors import ConfigError
from unifusion.layers import Latents
from unifusion.losses.masked_modelling import masked_modelling
from unifusion.models.aligner import Aligner
from unifusion.models.encoded import placed
from unifusion.models.towers import Layer
from unifusion.training.affect_loss import nothing_of
from unifusion.training.grad_cache import cached_loss
from unifusion.training.masking import Masking, hidden_moments, hidden_patches, hide_words, patch_places, whole_streams

__all__ = ["MaskObjective"]

log = logging.getLogger(__name__)


class _Words(nn.Module):
    """Tells the number of a word: by the network's own embeddings, which are not another matrix to learn."""

    def __init__(self, width: int, words_VD: nn.Parameter) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words_VD.shape[1]), nn.GELU(), nn.LayerNorm(words_VD.shape[1]))
        self.bias = nn.Parameter(torch.zeros(words_VD.shape[0]))

    def forward(self, x_MD: Tensor, words_VD: Tensor) -> Tensor:
        """Map tokens (M, D) to logits (M, V) over the words (V, D)."""
        return F.linear(self.inner(x_MD), words_VD.to(x_MD.dtype), self.bias)


class MaskObjective(nn.Module):
    """A model with the loss of what is hidden from it. What it has beside the model serves this loss alone and is no part of a saved model.

    Args:
        model: to train.
        masking: what is hidden.

    Raises:
        ConfigError: nothing of the model can be told.
    """

    def __init__(self, model: Aligner, masking: Masking | None = None) -> None:
        super().__init__()
        self.model, self.masking = model, masking or Masking()
        width = model.config.head_choices.width
        self.space_of = {n: s for s, names in model.config.towers.items() for n in names}
        self.blank = nn.ModuleDict({n: Latents(1, width) for n in self.space_of})
        self.mark = nn.ModuleDict({n: Latents(1, width) for n in self.space_of})
        self.joint = nn.ModuleList(Layer(width) for _ in range(self.masking.layers))
        self.kinds: dict[str, str] = {}
        self.places: dict[str, dict[str, Tensor]] = {}
        self.heads = nn.ModuleDict()
        for name in self.space_of:
            self.kinds[name] = self._prepare(name, width)
        if not any(kind != "context" for kind in self.kinds.values()):
            raise ConfigError(
                "nothing of the model can be told by masked modelling: its encoders are trained, and their tokens stand on no grid;",
                remedy="freeze one (trained: 0), or take the stage contrastive.",
            )
        log.info("masked modelling: %s", ", ".join(f"{n} tells {kind}" for n, kind in self.kinds.items()))

    def _prepare(self, name: str, width: int) -> str:
        """Make a stream's head; returns what is told of it: words, features, pixels, or nothing: it is `context`."""
        stream, encoder = self.model.config.streams[name], self._encoder(name)
        if stream.spec.modality == "text":
            given = blank_input(encoder, stream.spec.opening_choices)
            ids_CL = given.tensors.get("input_ids")
            if not self.masking.words or ids_CL is None or ids_CL.numel() != len(given.times_S):  # one token a sentence names no word
                return "context"
            self.heads[name] = _Words(width, encoder.backbone.get_input_embeddings().weight)
            return "words"
        if name not in self.model.live:
            trained = name in self.model.adapters and stream.adapt
            told = self.model.width_of(name) if trained or not stream.adapter_width else stream.adapter_width
            self.heads[name] = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, told))
            return "features"
        found = self._grid(encoder, stream) if self.masking.patches and name not in self.model.adapters else None
        if found is None:
            return "context"
        self.places[name] = found
        self.heads[name] = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sum(p.shape[1] for p in found.values())))
        return "pixels"

    def _encoder(self, name: str) -> Any:
        """A stream's encoder."""
        return self.model.encoders[name]

    def _grid(self, encoder: Any, stream: Any) -> dict[str, Tensor] | None:
        """The patches of each token by input; None where the tokens stand on no grid."""
        given = blank_input(encoder, stream.spec.opening_choices)
        inputs = {k: v for k, v in given.tensors.items() if v.is_floating_point()}
        layout = getattr(encoder, "layout", None)
        tubelet = layout(encoder.config).tubelet if layout is not None else 1
        found: dict[str, Tensor] = {}
        for key, value in inputs.items():
            places = patch_places(value.shape[1:], len(given.times_S) // len(value), tubelet)
            if places is None:
                return None
            found[key] = places
        return found or None

    def forward(self, clips: Sequence[Mapping[str, Any]], facts: Tensor | None = None, texts: Any = None) -> dict[str, Tensor]:
        """Return `loss` (), a number, of B rows whose streams are (B, S, D).

        Args:
            clips: parts of the batch, each of `collate_rows`, with `draws` (b,) int64, a number a row that decides what is hidden, and
                `words`, where there are any, a text of each row as such a batch of its own.
            facts, texts: not used; what `AlignObjective` takes.
        """
        del facts, texts
        return {"loss": cached_loss(self.parts, clips, self.total, parameters=self.parameters()) + nothing_of(self)}

    def parts(self, clips: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sums and counts of what was told of each stream of b rows, (b,) by `name` and `name#`: all of a part in its first row."""
        rows, draws = int(clips["rows"]), clips["draws"].tolist()
        given = {**clips["streams"], **(clips.get("words") or {}).get("streams", {})}
        given = {n: given[n] for n in self.kinds if n in given}
        there = {n: _rows_with(g, rows) for n, g in given.items() if self.kinds[n] in ("features", "pixels")}
        whole = whole_streams(there, draws, self.masking.whole) if len(given) > 1 else {n: [False] * rows for n in there}
        tokens, told, hidden = [], {}, {}
        marks: dict[str, Features] = {}
        for name, batch in given.items():
            x_BSD, marks[name], told[name], hidden[name] = self._shown(name, batch, rows, draws, whole.get(name))
            tokens.append(x_BSD + self.mark[name](rows).to(x_BSD.dtype))
        seen = self._joined(tokens, list(marks.values()))
        out = {}
        for name in self.heads:
            found = self._told(name, seen[list(given).index(name)], told[name], hidden[name]) if name in given else None
            first = torch.zeros(rows, device=self.model.device)
            first[:1] = 1.0
            out[name] = first * (found[0] if found is not None else 0.0)
            out[f"{name}#"] = first * (found[1] if found is not None else 0.0)
        return out

    def total(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The loss () of all rows: the mean over streams of the mean over what was hidden, in all processes."""
        counts_N = torch.stack([rows[f"{name}#"].sum() for name in self.heads]).detach()
        world = 1
        if distributed.is_available() and distributed.is_initialized():
            world = distributed.get_world_size()
            distributed.all_reduce(counts_N)
        sums_N = torch.stack([rows[name].sum() for name in self.heads])
        # Processes' gradients are averaged: each counts its own tokens against those of all.
        return (sums_N * world / counts_N.clamp(min=1)).sum() / (counts_N > 0).sum().clamp(min=1)

    def _joined(self, tokens: Sequence[Tensor], marks: Sequence[Features]) -> tuple[Tensor, ...]:
        """Streams' tokens (B, S, D) once they have seen each other."""
        x_BSD, mask_BS = torch.cat(list(tokens), dim=1), torch.cat([m.mask_BS for m in marks], dim=1)
        for layer in self.joint:
            x_BSD = layer(x_BSD, mask_BS)
        parts: tuple[Tensor, ...] = x_BSD.split([t.shape[1] for t in tokens], dim=1)
        return parts

    def _shown(
        self, name: str, batch: Mapping[str, Any], rows: int, draws: Sequence[int], whole: Sequence[bool] | None
    ) -> tuple[Tensor, Features, Tensor | None, Tensor]:
        """A stream with what is hidden of it: its tokens (B, S, D), where they stand, what is to be told, and which of them (B, S)."""
        kind = self.kinds[name]
        shown, target, hidden_BS = batch, None, None
        if kind in ("words", "pixels"):
            shown, target, hidden_BS = self._input(name, batch, rows, draws, whole or [False] * rows)
        adapted, own = self.model.tokens(name, shown, rows)
        pool: Any = self.model.towers[self.space_of[name]].pools[name]  # type: ignore[index]
        blank_D = self.blank[name](1)[0, 0]
        if kind == "features":
            c = self.masking
            hidden_BS = hidden_moments(adapted, draws, name, share=c.share, span_s=c.span_s)
            hidden_BS = hidden_BS | (adapted.mask_BS & torch.tensor(whole, device=adapted.mask_BS.device)[:, None])
            x_BSD, target = pool.attended(adapted, hidden_BS, blank_D), self._features(name, batch, adapted, own)
        else:
            x_BSD = pool.attended(adapted)
            if hidden_BS is not None:
                x_BSD = x_BSD + hidden_BS[..., None] * blank_D.to(x_BSD.dtype)
        if hidden_BS is None:
            hidden_BS = torch.zeros_like(adapted.mask_BS)
        return x_BSD, adapted, target, hidden_BS & adapted.mask_BS

    def _features(self, name: str, batch: Mapping[str, Any], adapted: Features, own: Features) -> Tensor:
        """What a frozen encoder makes of each token, normalised (B, S, D); where its adapter is trained, the mean of its tokens nearest in
        time."""
        told_BSD = own.tokens_BSD.detach().float()
        if name not in self.model.adapters or batch.get("adapted"):
            return F.layer_norm(told_BSD, told_BSD.shape[-1:])
        if not self.model.config.streams[name].adapt:
            told_BSD = adapted.tokens_BSD.detach().float()
            return F.layer_norm(told_BSD, told_BSD.shape[-1:])
        far_BQS = (adapted.times_BS.float()[..., None] - own.times_BS.float()[:, None]).abs()
        far_BQS = far_BQS.masked_fill(~adapted.mask_BS[..., None], torch.inf)
        near_BQS = ((far_BQS <= far_BQS.amin(dim=1, keepdim=True) + 1e-4) & own.mask_BS[:, None] & adapted.mask_BS[..., None]).float()
        # An adapter's token that is nearest to none takes the encoder's nearest one.
        mine_BQ1 = far_BQS.masked_fill(~own.mask_BS[:, None], torch.inf).argmin(dim=2, keepdim=True)
        near_BQS = torch.where(near_BQS.any(dim=2, keepdim=True), near_BQS, torch.zeros_like(near_BQS).scatter(2, mine_BQ1, 1.0))
        mean_BQD = near_BQS @ told_BSD / near_BQS.sum(dim=2, keepdim=True)
        return F.layer_norm(mean_BQD, mean_BQD.shape[-1:])

    def _input(
        self, name: str, batch: Mapping[str, Any], rows: int, draws: Sequence[int], whole: Sequence[bool]
    ) -> tuple[Mapping[str, Any], Tensor, Tensor]:
        """A stream's batch with some of its input hidden, what was there (B, S, P) or (B, S), and which tokens stand for it (B, S)."""
        at, length = batch["rows"].tolist(), batch["times"].shape[1]
        own = [draws[i] for i in at]
        if self.kinds[name] == "words":
            config = self.model.config.streams[name].spec.opening_choices
            shown_CL, hidden_CL = hide_words(batch, config, own, name, self.masking.words)
            changed, target = {"input_ids": shown_CL}, batch["input_ids"][..., None]
        else:
            places = self.places[name]
            tokens = len(next(iter(places.values())))
            wanted = [whole[i] for i in at]
            hidden_CL = hidden_patches(batch["chunks"].tolist(), tokens, own, wanted, name, self.masking.patches).to(batch["rows"].device)
            cut = {k: _cut(batch[k], p.to(batch[k].device)) for k, p in places.items()}
            changed = {k: _grey(batch[k], places[k].to(batch[k].device), hidden_CL) for k in places}
            target = torch.cat(list(cut.values()), dim=-1).float()
            hidden_CL = hidden_CL & torch.stack([(p >= 0).any(dim=1) for p in places.values()]).any(dim=0).to(hidden_CL.device)
        target_MSP, hidden_MS = _laid(target, batch["chunks"], length), _laid(hidden_CL[..., None], batch["chunks"], length)[..., 0]
        marks = Features(tokens_BSD=target_MSP, mask_BS=hidden_MS, times_BS=batch["times"])
        there = placed(marks, batch["rows"], rows)
        return {**batch, **changed}, there.tokens_BSD, there.mask_BS

    def _told(self, name: str, x_BSD: Tensor, target: Tensor | None, hidden_BS: Tensor) -> tuple[Tensor, Tensor]:
        """The sum () of the losses of what was hidden of a stream, and of how many tokens ()."""
        count = hidden_BS.sum()
        if target is None:
            return x_BSD.sum() * 0.0, count
        head, kind = self.heads[name], self.kinds[name]
        if kind == "words":
            words_VD = self._encoder(name).backbone.get_input_embeddings().weight
            logits_1MV = head(x_BSD[hidden_BS], words_VD)[None]
            told = masked_modelling(logits_1MV, target[..., 0][hidden_BS][None], _all(logits_1MV), form="tokens")
        elif kind == "features" and self.masking.form == "contrast":
            told = masked_modelling(head(x_BSD), target, hidden_BS, form="contrast", within_rows=True)
        else:
            form = self.masking.form if kind == "features" else "pixels"
            told_1MD = head(x_BSD[hidden_BS])[None]
            told = masked_modelling(told_1MD, target[hidden_BS][None], _all(told_1MD), form=form)
        return told * count, count


def _all(x_BSD: Tensor) -> Tensor:
    """A mask (B, S) of everything."""
    return torch.ones(x_BSD.shape[:2], dtype=torch.bool, device=x_BSD.device)


def _rows_with(batch: Mapping[str, Any], rows: int) -> list[bool]:
    """Which rows have a stream."""
    own = set(batch["rows"].tolist())
    return [row in own for row in range(rows)]


def _cut(x: Tensor, places_SP: Tensor) -> Tensor:
    """An input (C, ..) as the patches of its tokens (C, S, P); a token without a patch has zeros."""
    patches: Tensor = x.flatten(1)[:, places_SP.clamp(min=0)] * (places_SP >= 0)
    return patches


def _grey(x: Tensor, places_SP: Tensor, hidden_CS: Tensor) -> Tensor:
    """An input (C, ..) with the numbers of hidden patches at 0, the mean of a prepared picture."""
    real_SP = places_SP >= 0
    out = torch.zeros(len(x), x[0].numel(), dtype=torch.bool, device=x.device)
    rows_CSP = hidden_CS[:, :, None] & real_SP
    out[:, places_SP[real_SP]] = rows_CSP[:, real_SP]
    return x.masked_fill(out.reshape(x.shape), 0.0)


def _laid(values_CSP: Tensor, chunks_M: Tensor, length: int) -> Tensor:
    """Numbers of tokens by chunk (C, S, P) as an encoder lays its tokens out, (M, length, P)."""
    out = values_CSP.new_zeros(len(chunks_M), length, values_CSP.shape[-1])
    for row, piece in enumerate(values_CSP.split(chunks_M.tolist())):
        flat = piece.flatten(0, 1)[:length]
        out[row, : len(flat)] = flat
    return out
