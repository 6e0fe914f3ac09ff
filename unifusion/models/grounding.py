"""Encoders and adapters from nothing: phrases contrasted with windows of tokens, masked modelling, and naming what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unifusion.adapters.adapter import Adapter
from unifusion.batch import Features
from unifusion.encoders.encoder import Encoder
from unifusion.errors import ConfigError
from unifusion.layers import MLP
from unifusion.losses.exclusive_choice import exclusive_choice_loss
from unifusion.losses.grounded_sigmoid import grounded_logits, grounded_sigmoid_loss

__all__ = ["GroundingConfig", "GroundingModel"]


@dataclass(frozen=True, kw_only=True)
class GroundingConfig:
    """Width of the shared space, and how much is masked.

    `mask_share` of the input's patches (picture) or frames (sound) is hidden in `mask_rows` of the rows; the encoder sees the rest and
    its tokens must tell what was hidden (SimMIM, Xie et al. 2022; masked spectrograms after SpecAugment, Park et al. 2019).
    Adapters are contrasted with the same phrases through their queries (BLIP-2's first stage, Li et al. 2023), so that a language
    model finds each fact in a direction of its own. Where the times of words are known, each sound token names the word that is being
    said and its letter, as if all letters of a word were equally long (cross-entropy, the flat start of hybrid recognisers).
    """

    width: int = 128
    text_width: int = 128
    mask_share: float = 0.3
    mask_rows: float = 0.5
    masked_weight: float = 0.3
    naming_weight: float = 1.0
    """Of words and letters."""
    choice_weight: float = 0.5
    """Of which emotion, sound or word a whole piece is."""
    patch: int = 16
    """Side of a hidden square, in pixels."""
    span: int = 16
    """Length of a hidden stretch of sound, in mel frames (10 ms)."""


class GroundingModel(nn.Module):
    """Encoders of several streams with their adapters beside one text tower over phrases.

    Args:
        encoders: stream name -> encoder, all trained.
        adapters: stream name -> adapter to `config.width`, all trained; a stream may lack one.
        phrase_ids: stream name -> token ids (P, L) of its phrases, padded with -1.
        vocabulary: size of the tokenizer.
        config: see GroundingConfig.
        names: kind of name -> how many there are, number 0 for none among them; what sound tokens are named by.
        exclusive: stream name -> sets of its phrases (indices) of which one alone is true of a piece.
    """

    def __init__(
        self, encoders: Mapping[str, Encoder], adapters: Mapping[str, Adapter], phrase_ids: Mapping[str, Tensor], vocabulary: int,
        config: GroundingConfig, *, names: Mapping[str, int] | None = None, exclusive: Mapping[str, Sequence[Sequence[int]]] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.choices = config
        self.exclusive = {n: [torch.tensor(list(s)) for s in sets] for n, sets in (exclusive or {}).items()}
        self.encoders = nn.ModuleDict(dict(encoders))
        self.adapters = nn.ModuleDict(dict(adapters))
        self.embedding = nn.Embedding(vocabulary, config.text_width)
        self.text = MLP(config.text_width, 2 * config.text_width, config.width)
        self.heads = nn.ModuleDict({n: nn.Sequential(nn.LayerNorm(e.width), nn.Linear(e.width, config.width)) for n, e in encoders.items()})
        parts = [*encoders, *(f"{n}_queries" for n in adapters)]
        self.scales = nn.ParameterDict({n: nn.Parameter(torch.tensor(2.3)) for n in parts})
        self.biases = nn.ParameterDict({n: nn.Parameter(torch.full((len(phrase_ids[n.split("_")[0]]),), -4.0)) for n in parts})
        heard = [(n, e.width) for n, e in encoders.items() if e.modality == "audio"]
        self.naming = nn.ModuleDict(
            {n: nn.ModuleDict({kind: nn.Linear(width, count) for kind, count in (names or {}).items()}) for n, width in heard}
        )
        self.decoders = nn.ModuleDict()
        self.phrase_ids = {n: ids for n, ids in phrase_ids.items()}

    def phrases(self, stream: str) -> Tensor:
        """Unit-norm phrases (P, D) of a stream: the mean of their tokens' embeddings through an MLP."""
        ids_PL = self.phrase_ids[stream].to(self.embedding.weight.device)
        real_PL = (ids_PL >= 0)[..., None]
        mean_PD = (self.embedding(ids_PL.clamp(min=0)) * real_PL).sum(1) / real_PL.sum(1).clamp(min=1)
        return functional.normalize(self.text(mean_PD), dim=-1)

    def score(self, stream: str, inputs: Mapping[str, Any], windows: int) -> Tensor:
        """Logits (M x windows, P) of a stream's phrases, from its adapter's queries where it has one; nothing is masked."""
        features = self.encoders[stream](**inputs)
        part = f"{stream}_queries" if stream in self.adapters else stream
        tokens_KLD = self._windows(part, self._shared(part, features), windows)
        return grounded_logits(tokens_KLD, self.phrases(stream), scale=self.scales[part].exp(), bias_P=self.biases[part])

    def _shared(self, part: str, features: Features) -> Tensor:
        """A stream's tokens, or its adapter's, in the shared space (M, S, D)."""
        stream, _, queries = part.partition("_")
        module = self.adapters[stream] if queries else self.heads[stream]
        tokens_MSD: Tensor = module(features).tokens_BSD if queries else module(features.tokens_BSD)
        return tokens_MSD

    def _windows(self, part: str, tokens_MSD: Tensor, windows: int) -> Tensor:
        """Unit-norm tokens (M x windows, L, D); where tokens of sound do not split evenly, neighbours share one."""
        count = tokens_MSD.shape[1]
        if count % windows:
            if self.encoders[part.split("_")[0]].modality != "audio":
                raise ConfigError(
                    f"{count} tokens of {part!r} do not split into {windows} windows;", remedy="choose another window length."
                )
            first_K = torch.arange(windows) * count // windows
            tokens_MSD = tokens_MSD[:, (first_K[:, None] + torch.arange(-(-count // windows))).flatten().clamp(max=count - 1)]
        return functional.normalize(tokens_MSD, dim=-1).reshape(len(tokens_MSD) * windows, -1, self.choices.width)

    def forward(self, **batch: Any) -> dict[str, Tensor]:
        """Sum the losses of all streams.

        Args:
            batch: stream -> dict with the encoder's inputs (C, ..), `chunks` (M,), `times`, `mask` (M, S) and `truth` (M, K, P): windows in
                order, each of S / K tokens. `group` (M, K), where given, numbers the pieces of a row, -1 for none. `names`, where given,
                maps a kind to the number of each token's name (M, S), -1 where nobody knows it.

        Returns:
            `loss`, and each stream's parts of it.
        """
        out: dict[str, Tensor] = {}
        for name, encoder in self.encoders.items():
            if name not in batch:
                continue
            inputs = dict(batch[name])
            truth_MKP, names, group_MK = inputs.pop("truth"), inputs.pop("names", {}), inputs.pop("group", None)
            key = next(k for k, v in inputs.items() if k not in ("chunks", "times", "mask") and v.is_floating_point())
            clean = inputs[key]
            inputs[key], hidden = self._hide(clean)
            features = encoder(**inputs)
            phrases_PD = self.phrases(name)
            for part in (name, f"{name}_queries")[: 1 + (name in self.adapters)]:
                tokens_KLD = self._windows(part, self._shared(part, features), truth_MKP.shape[1])
                told = {"scale": self.scales[part].exp(), "bias_P": self.biases[part]}
                truth_KP = truth_MKP.flatten(0, 1)
                out[f"{part}_contrast"] = grounded_sigmoid_loss(tokens_KLD, phrases_PD, truth_KP, **told)
                if group_MK is not None and bool((group_MK >= 0).any()):
                    group_K = torch.where(group_MK >= 0, group_MK + torch.arange(len(group_MK))[:, None] * group_MK.shape[1], -1).flatten()
                    inside_K = group_K >= 0
                    logits_KP = grounded_logits(tokens_KLD[inside_K], phrases_PD, **told)
                    sets = self.exclusive.get(name, ())
                    out[f"{part}_choice"] = exclusive_choice_loss(logits_KP, truth_KP[inside_K], group_K[inside_K], sets)
            out[f"{name}_masked"] = self._masked(name, features.tokens_BSD, clean, hidden, inputs["chunks"])
            heads: Any = self.naming[name] if name in self.naming else {}
            for kind, head in heads.items():
                if kind in names and bool((names[kind] >= 0).any()):
                    logits_NC = head(features.tokens_BSD).flatten(0, 1)
                    out[f"{name}_{kind}_naming"] = functional.cross_entropy(logits_NC, names[kind].flatten(), ignore_index=-1)
        c = self.choices
        weights = {"contrast": 1.0, "masked": c.masked_weight, "naming": c.naming_weight, "choice": c.choice_weight}
        out["loss"] = torch.stack([weights[k.rpartition("_")[2]] * v for k, v in out.items()]).sum()
        return out

    def _hide(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Hide squares of pictures (C, T, 3, H, W) or (C, channels, H, W), or stretches of mels (C, F, N).

        Returns:
            the input, and what was hidden, in the same shape.
        """
        c = self.choices
        if not self.training:
            return clean, torch.zeros_like(clean, dtype=torch.bool)
        rows = torch.rand(len(clean), device=clean.device) < c.mask_rows
        if clean.dim() > 3:
            height, width = clean.shape[-2:]
            leading = (len(clean), clean.shape[1] // 2, 1) if clean.dim() == 5 else (len(clean), 1)
            hidden = torch.rand(*leading, -(-height // c.patch), -(-width // c.patch), device=clean.device) < c.mask_share
            hidden = hidden.repeat_interleave(c.patch, -2).repeat_interleave(c.patch, -1)[..., :height, :width]
            hidden = (hidden.repeat_interleave(2, 1) if clean.dim() == 5 else hidden).expand_as(clean)
        else:
            spans = torch.rand(len(clean), 1, -(-clean.shape[2] // c.span), device=clean.device) < c.mask_share
            hidden = spans.repeat_interleave(c.span, 2)[..., : clean.shape[2]].expand_as(clean)
        hidden = hidden & rows.view(-1, *[1] * (clean.dim() - 1))
        return torch.where(hidden, torch.zeros_like(clean), clean), hidden

    def _masked(self, name: str, tokens_MSD: Tensor, clean: Tensor, hidden: Tensor, chunks: Tensor) -> Tensor:
        """Mean squared error of what was hidden, told by a linear map of the tokens over it."""
        flat = torch.cat([row[: int(n) * (tokens_MSD.shape[1] // int(chunks.max()))] for row, n in zip(tokens_MSD, chunks, strict=True)])
        tokens_CSD = flat.reshape(len(clean), -1, tokens_MSD.shape[-1])
        target, mask = (patchify(x, tokens_CSD.shape[1]) for x in (clean, hidden))
        if name not in self.decoders:
            raise ConfigError(f"stream {name!r} has no masked-modelling head;", remedy="call `prepare` with a batch first.")
        told = mask.any(-1)
        error = functional.mse_loss(self.decoders[name](tokens_CSD[told]), target[told], reduction="none") * mask[told]
        return error.sum() / mask.sum().clamp(min=1)

    def prepare(self, batch: Mapping[str, Any]) -> None:
        """Make the masked-modelling heads, whose size follows from a batch; call once before training."""
        for name, encoder in self.encoders.items():
            key = next(
                k
                for k, v in batch[name].items()
                if k not in ("chunks", "times", "mask", "truth", "names", "group") and v.is_floating_point()
            )
            per_chunk = batch[name]["times"].shape[1] // int(batch[name]["chunks"].max())
            width: Any = encoder.width
            self.decoders[name] = nn.Linear(width, patchify(batch[name][key][:1], per_chunk).shape[-1])


def patchify(x: Tensor, tokens: int) -> Tensor:
    """Cut an encoder's input into what each of its tokens stands for: (C, ..) to (C, tokens, values).

    Pictures (C, T, 3, H, W): two frames by squares, in the order tubelet, row, column; stacked pictures (C, channels, H, W): squares, row
    by row. Mels (C, F, N): N / tokens frames each.
    """
    if x.dim() == 4:
        side = round(tokens**0.5)
        patch = x.shape[-1] // side
        cut = x.reshape(len(x), x.shape[1], side, patch, side, patch)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(len(x), tokens, -1)
    if x.dim() == 3:
        return x.transpose(1, 2).reshape(len(x), tokens, -1)
    tubelets = x.shape[1] // 2
    side = round((tokens / tubelets) ** 0.5)
    patch = x.shape[-1] // side
    x = x.reshape(len(x), tubelets, 2, 3, side, patch, side, patch)
    return x.permute(0, 1, 4, 6, 2, 3, 5, 7).reshape(len(x), tokens, -1)


def pad_phrases(ids: Sequence[Sequence[int]]) -> Tensor:
    """Token ids of phrases as one tensor (P, L), padded with -1."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(list(i)) for i in ids], batch_first=True, padding_value=-1)
