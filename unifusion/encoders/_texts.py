"""What the text encoders share: a transcript as windows of tokens, and their places in the clip. Written once for all of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unifusion.conversation import Clip, Line
from unifusion.encoders._hub import build_backbone, load_pretrained, resolve_backbone
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import CheckpointError, ConfigError, MediaError

__all__ = ["TextConfig", "TextEncoder", "hold_windows", "passages", "tiny_bert", "tokenizer_of", "windows"]

BYTES_FROM = 4
"""Without a tokenizer a token is a byte of UTF-8, counted from here; smaller numbers are left to padding and the like."""

_PROBE = (
    "Don't SHOUT, naïve façade: 3.14 x 10⁴\t你好 Привет 😀 "
    "unforgettably  antidisestablishmentarianism"
)
"""Case, accents, digits, other scripts, spaces and long words: what tokenizers of the same tokens cut differently."""


def tiny_bert() -> dict[str, Any]:
    """A backbone of width 16 and two layers that reads bytes."""
    return {
        "vocab_size": BYTES_FROM + 256, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 80,
    }  # fmt: skip


@dataclass(kw_only=True)
class TextConfig(Encoder.Config):
    """How text is cut into tokens and windows."""

    tokenizer: str | None = None
    """Hub name or folder; None: the source's. Without a source a token is a byte of UTF-8."""
    max_tokens: int = 64
    """Of a window, those that begin and end it included; longer text becomes several."""


class TextEncoder(Encoder):
    """The transcript of a clip through a transformer, a token for each of its tokens.

    Where nobody knows when each word is said, tokens' times are spread evenly over the clip. Timed lines (`Clip.subtitles`) are windows
    of their own, and times spread over each. A subclass names the classes of transformers.
    """

    modality = "text"
    cut = "attention_mask"
    config_class: ClassVar[Any]
    """Of transformers, whose keys `backbone` holds."""
    model_class: ClassVar[Any]
    """Of transformers; made without its pooler."""
    Config = TextConfig

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with `backbone` filled in.

        Raises:
            CheckpointError: the source has no readable config.
            ConfigError: an unknown key, or windows longer than the network's positions.
        """
        resolved: TextConfig = resolve_backbone(config, cls.config_class)
        most = resolved.backbone.get("max_position_embeddings", resolved.max_tokens)
        hold_windows(resolved.max_tokens, most)
        return resolved

    @classmethod
    def rate_hz(cls, config: Any) -> float:
        """Text has no rate."""
        del config
        return 0.0

    @classmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the network without pooler and heads."""
        options = {"add_pooling_layer": False}
        if load_weights and config.source:
            return load_pretrained(cls.model_class, config, options=options)
        return build_backbone(cls.model_class, config, cls.config_class, options)

    @classmethod
    def preprocess(cls, config: Any, clip: Clip) -> EncoderInput:
        """Cut the transcript into windows of tokens.

        Returns:
            EncoderInput with `input_ids` and `attention_mask` (C, max_tokens) int64.

        Raises:
            MediaError: the clip has no transcript.
        """
        spoken = passages(clip)
        cut = [windows(config, line.text) for line in spoken]
        ids_CL, real_CL = (torch.cat(parts) for parts in zip(*cut, strict=True))
        return EncoderInput(
            tensors={"input_ids": ids_CL, "attention_mask": real_CL},
            times_S=torch.cat([_spread(real, line) for (_, real), line in zip(cut, spoken, strict=True)]),
            mask_S=real_CL.flatten().bool(),
            seconds=clip.duration_s,
        )

    @classmethod
    def save_files(cls, config: Any, folder: Path) -> None:
        """Write the tokenizer; bytes need none.

        Raises:
            CheckpointError: it cannot be read where it comes from.
        """
        tokenizer = tokenizer_of(config)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)

    @classmethod
    def with_files(cls, config: Any, folder: Path) -> Any:
        """Return `config` with the tokenizer that lies in `folder`."""
        return replace(config, tokenizer=str(folder.resolve()))

    @classmethod
    def files_hash(cls, config: Any) -> str:
        """Hash of the tokenizer: its tokens, and how it cuts some text of many kinds."""
        tokenizer = tokenizer_of(config)
        if tokenizer is None:
            return ""
        told = [sorted(tokenizer.get_vocab().items()), tokenizer(_PROBE)["input_ids"], tokenizer.pad_token_id]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def encode_chunks(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map input_ids and attention_mask (C, L) to tokens (C, L, D).

        Raises:
            ConfigError: a token the network does not know.
        """
        self.fitting(input_ids)
        return self.encode_traced(input_ids=input_ids, attention_mask=attention_mask)

    def encode_traced(self, **tensors: Tensor) -> Tensor:
        """The same (C, L) to (C, L, D), without asking whether the network knows the tokens."""
        tokens_CSD: Tensor = self.backbone(**tensors).last_hidden_state
        return tokens_CSD

    def fitting(self, input_ids: Tensor) -> None:
        """Refuse tokens beyond the network's vocabulary: its tokenizer is another model's."""
        if input_ids.numel() and int(input_ids.max()) >= self.config.backbone["vocab_size"]:
            raise ConfigError(
                f"token {int(input_ids.max())} of a vocabulary of {self.config.backbone['vocab_size']};",
                remedy="give the tokenizer that belongs to these weights.",
            )


def hold_windows(max_tokens: int, most: int) -> None:
    """Refuse windows that hold nothing beside their ends, or more than a network's positions.

    Raises:
        ConfigError: names what it can take.
    """
    if not 2 < max_tokens <= most:
        raise ConfigError(f"windows of {max_tokens} tokens for a network of {most} positions;", remedy=f"set max_tokens to 3 .. {most}.")


def passages(clip: Clip) -> list[Line]:
    """What is said as lines with times from the start of the span; a transcript without times is one line as long as the clip.

    Raises:
        MediaError: the clip has no transcript.
    """
    lines = [line for line in clip.subtitles if line.text.strip()]
    if not lines and not (clip.transcript and clip.transcript.strip()):
        raise MediaError("the clip has no transcript;", remedy="leave the text stream out, or give the words that are said.")
    return lines or [Line(0.0, clip.duration_s, clip.transcript or "")]


def _spread(real_CL: Tensor, line: Line) -> Tensor:
    """Seconds (S,) of tokens that are spread evenly over a line."""
    place_S = real_CL.flatten().cumsum(0).double() - 0.5
    share_S = place_S.clamp(min=0.0) / max(1, int(real_CL.sum()))
    return (line.start_s + share_S * (line.end_s - line.start_s)).float()


def windows(config: Any, text: str) -> tuple[Tensor, Tensor]:
    """Return a text's windows of tokens (C, max_tokens) and which of them are real, both int64.

    Raises:
        CheckpointError: the tokenizer cannot be read.
    """
    length, pad = config.max_tokens, int(config.backbone.get("pad_token_id") or 0)
    tokenizer = tokenizer_of(config)
    if tokenizer is None:
        raw = torch.tensor(list(text.strip().encode()), dtype=torch.long) + BYTES_FROM
        pieces = [p.tolist() for p in raw.split(length)]
    else:
        given = tokenizer(text.strip(), truncation=True, max_length=length, return_overflowing_tokens=True)
        pieces, pad = given["input_ids"], tokenizer.pad_token_id if tokenizer.pad_token_id is not None else pad
    ids_CL = torch.tensor([[*p, *[pad] * (length - len(p))] for p in pieces])
    return ids_CL, torch.tensor([[1] * len(p) + [0] * (length - len(p)) for p in pieces])


def tokenizer_of(config: Any) -> Any:
    """The tokenizer of a config; None where a token is a byte.

    Raises:
        CheckpointError: it cannot be read.
    """
    name = config.tokenizer or config.source
    return None if name is None else _tokenizer(name, config.revision if name == config.source else None)


@lru_cache(maxsize=8)
def _tokenizer(name: str, revision: str | None) -> Any:
    """Read a tokenizer once."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, revision=revision, use_fast=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"cannot read the tokenizer of {name!r}: {str(error).strip().splitlines()[0]};",
            remedy="give a hub name or a folder with tokenizer.json.",
        ) from error
