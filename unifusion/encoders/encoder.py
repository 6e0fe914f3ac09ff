"""The contract of an encoder: it owns its preprocessing, its features carry times and a mask."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor, nn

from unifusion.batch import Features
from unifusion.conversation import Clip
from unifusion.errors import ConfigError

__all__ = ["Encoder", "EncoderInput", "blank_features", "blank_input", "weights_hash"]


def weights_hash(module: nn.Module) -> str:
    """Return the sha256 (hex) of a module's parameters and persistent buffers: names, types, shapes and bytes, sorted by name.

    Equal before and after training for a frozen encoder; part of the key under which its outputs are stored.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def blank_features(encoder: Encoder, choices: Any, *, trained: bool) -> Features:
    """Features (1, S, D) of nothing: of a second of black and silence when the encoder is `trained`, else one token of zeros.

    `choices` are the encoder's as its `preprocess` takes them.
    """
    kind = next(encoder.parameters())
    if not trained:
        zeros = torch.zeros(1, 1, encoder.width, device=kind.device, dtype=kind.dtype)
        return Features(tokens_BSD=zeros, mask_BS=torch.ones(1, 1, dtype=torch.bool), times_BS=torch.zeros(1, 1))
    given = blank_input(encoder, choices)
    tensors = {k: v.to(kind.device, kind.dtype if v.is_floating_point() else None) for k, v in given.tensors.items()}
    chunks = torch.tensor([len(next(iter(tensors.values())))], device=kind.device)
    training = encoder.training
    encoder.eval()  # running statistics must not learn what nothing looks like
    times_1S, mask_1S = given.times_S[None].to(kind.device), given.mask_S[None].to(kind.device)
    out: Features = encoder(chunks=chunks, times=times_1S, mask=mask_1S, **tensors)
    encoder.train(training)
    return out


def blank_input(encoder: Encoder, choices: Any) -> EncoderInput:
    """What an encoder takes of a second of black, silence and the word "a"."""
    rate_hz = encoder.rate_hz(encoder.config)
    times = np.arange(0.0, 1.0, 1.0 / rate_hz) if encoder.modality in ("video", "image") else np.zeros(1)
    sound = np.zeros(round(rate_hz), np.float32) if encoder.modality == "audio" else None
    clip = Clip(
        frames_THWC=np.zeros((len(times), 32, 32, 3), np.uint8), frame_times_s=times, waveform_N=sound,
        sampling_rate_hz=round(rate_hz) if sound is not None else 16_000, duration_s=1.0, transcript="a",
    )  # fmt: skip
    given: EncoderInput = encoder.preprocess(choices, clip)
    return given


@dataclass(frozen=True, kw_only=True)
class EncoderInput:
    """One clip as one encoder takes it, made without weights.

    Attributes:
        tensors: named tensors, each (C, ..): the clip cut into C chunks of the encoder's fixed length.
        times_S: float32 seconds of each token the encoder will give, over all chunks in order; S = C x tokens per chunk.
        mask_S: bool, False for tokens that stand for padding alone.
        seconds: seconds of the clip that are really shown.
        frames: pictures shown (video, image).
        samples: samples of the waveform shown (audio).
    """

    tensors: dict[str, Tensor]
    times_S: Tensor
    mask_S: Tensor
    seconds: float
    frames: int = 0
    samples: int = 0
    notes: tuple[str, ...] = field(default_factory=tuple)


class Encoder(nn.Module):
    """A feature extractor for one modality.

    A subclass gives `Config`, `modality`, `tiny`, `resolve`, `rate_hz`, `preprocess`, `make_backbone`, `width`, `encode_chunks`.

    Args:
        config: the encoder's choices; resolved here when they are not yet.
        load_weights: fetch the weights of `config.source`. With False nothing but (at most) config.json is read and the
            network of `backbone` gets random weights, for a checkpoint loader that fills them in or calls `load_source`.
    """

    @dataclass(kw_only=True)
    class Config:
        """Choices of the encoder.

        `source` names hub weights or a local folder (`revision` pins it); without it the encoder is built from the inline
        `backbone`. `backbone` always holds the resolved transformers config (a plain dict), so `preprocess` needs no weights.
        """

        source: str | None = None
        revision: str | None = None
        backbone: dict[str, Any] = field(default_factory=dict)

    modality: ClassVar[Literal["video", "audio", "image", "text"]]
    preprocessing: ClassVar[int] = 1
    """Counts up when `preprocess` gives something else than before for the same choices: stored features are made again then."""
    cut: ClassVar[str] = ""
    """Name of the tensor (C, L) that says which places of the last axis of its tensors are no padding, where the rest may be cut off;
    an exported graph takes any L then."""

    def __init__(self, config: Any, *, load_weights: bool = True) -> None:
        super().__init__()
        self.config = self.resolve(config)
        self.backbone = self.make_backbone(self.config, load_weights=load_weights)

    @classmethod
    def build(cls, config: Any, *, load_weights: bool = True) -> Self:
        """Construct the encoder; the name under which code outside does it."""
        return cls(config, load_weights=load_weights)

    @classmethod
    @abstractmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the network of a resolved `config`: the weights of `source` if it is set and wanted, else random ones.

        Raises:
            CheckpointError: the source cannot be read, or lacks weights of the network.
        """

    def load_source(self) -> None:
        """Replace the network by the weights of `config.source`, for an encoder built with `load_weights=False`."""
        if not self.config.source:
            raise ConfigError("this encoder has no source to load weights from;", remedy="set `source` to a hub name or a folder.")
        self.backbone = self.make_backbone(self.config, load_weights=True)

    @classmethod
    @abstractmethod
    def tiny(cls) -> Any:
        """Return a Config of a few thousand random weights, for tests and documentation."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D of the features."""

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with `backbone` filled in from `source` (reads config.json, no weights)."""
        return config

    @classmethod
    @abstractmethod
    def rate_hz(cls, config: Any) -> float:
        """Frames per second (video) or samples per second (audio) that `preprocess` wants."""

    @classmethod
    @abstractmethod
    def preprocess(cls, config: Any, clip: Clip) -> EncoderInput:
        """Turn decoded arrays into the encoder's own input, by the published preprocessing; deterministic.

        Raises:
            MediaError: the clip lacks this modality (callers check first) or holds less than one token's worth.
        """

    @classmethod
    def save_files(cls, config: Any, folder: Path) -> None:
        """Write into `folder` what `preprocess` reads beside `config` (a text encoder's tokenizer); most encoders read nothing."""
        del config, folder

    @classmethod
    def with_files(cls, config: Any, folder: Path) -> Any:
        """Return `config` for a `preprocess` that reads what `save_files` wrote into `folder`, not its source."""
        del folder
        return config

    @classmethod
    def files_hash(cls, config: Any) -> str:
        """Hash of what `preprocess` reads beside `config`, the same wherever it lies; "" where it reads nothing."""
        del config
        return ""

    @abstractmethod
    def encode_chunks(self, *args: Any, **tensors: Any) -> Tensor:
        """Map tensors (C, ..), named as `preprocess` names them, to tokens (C, tokens per chunk, D)."""

    def encode_traced(self, **tensors: Tensor) -> Tensor:
        """Like `encode_chunks`, by operations that hang on shapes alone and not on values, as an exported graph must.

        Checks of values are left out. What it gives for padding, whole chunks of zeros too, may be any finite number.
        """
        return self.encode_chunks(**tensors)

    def forward(self, *, chunks: Tensor, times: Tensor, mask: Tensor, **tensors: Tensor) -> Features:
        """Encode a batch of items, each cut into chunks.

        Args:
            chunks: (M,) chunks of each item; the sum is C.
            times: (M, S) seconds of the tokens, as `preprocess` said, padded with 0.
            mask: (M, S) bool.
            tensors: (C, ..) the items' chunks, concatenated.

        Returns:
            Features with tokens_BSD of shape (M, S, D); B is M here. Masked tokens are zero.
        """
        tokens_CSD = self.encode_chunks(**tensors)
        counts = chunks.tolist()
        per_chunk, width = tokens_CSD.shape[1:]
        out = tokens_CSD.new_zeros(len(counts), times.shape[1], width)
        for row, piece in enumerate(tokens_CSD.split(counts)):
            flat = piece.reshape(len(piece) * per_chunk, width)
            out[row, : len(flat)] = flat
        return Features(tokens_BSD=out * mask[..., None], mask_BS=mask, times_BS=times)
