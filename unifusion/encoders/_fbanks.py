"""Networks over patches of Kaldi's log-mel pictures (AST, CAV-MAE): frames, patches and their times. Written once for both."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.encoders._sound import HOP_SAMPLES, PREEMPHASIS, SAMPLING_RATE_HZ, WINDOW_SAMPLES, mono
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError

__all__ = ["FbankConfig", "FbankEncoder", "Grid", "kaldi_fbank"]

FFT_SAMPLES = 512
FLOOR = 1.192092955078125e-07
"""Least power of a mel bin, 32-bit epsilon as in Kaldi."""
LOWEST_HZ = 20.0


@lru_cache(maxsize=8)
def _filters(n_mels: int) -> Tensor:
    """Kaldi's mel filters (n_mels, FFT_SAMPLES / 2 + 1) from 20 Hz to 8 kHz: triangles on the mel axis."""
    from transformers.audio_utils import mel_filter_bank

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filter")  # so it is with 128 bins, as published
        bank = mel_filter_bank(
            num_frequency_bins=FFT_SAMPLES // 2 + 1, num_mel_filters=n_mels, min_frequency=LOWEST_HZ, max_frequency=SAMPLING_RATE_HZ / 2,
            sampling_rate=SAMPLING_RATE_HZ, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True,
        )  # fmt: skip
    return torch.from_numpy(bank).float().T.contiguous()


def kaldi_fbank(waveform_N: Tensor, n_mels: int) -> Tensor:
    """Return Kaldi's log mel energies (T, n_mels) of sound at 16 kHz, T = 1 + (N - 400) // 160.

    Options as in AST's and CAV-MAE's training: Hann window, 25 ms every 10 ms, only whole windows, offset removed and pre-emphasis
    in each, no dither, natural logarithm. Equal to `torchaudio.compliance.kaldi.fbank(htk_compat=True, window_type="hanning",
    dither=0.0)` of the same numbers.
    """
    frames_TW = waveform_N.unfold(0, WINDOW_SAMPLES, HOP_SAMPLES)
    frames_TW = frames_TW - frames_TW.mean(dim=1, keepdim=True)
    before_TW = torch.cat([frames_TW[:, :1], frames_TW[:, :-1]], dim=1)
    shaped_TW = (frames_TW - PREEMPHASIS * before_TW) * torch.hann_window(WINDOW_SAMPLES, periodic=False)
    power_TF = torch.fft.rfft(shaped_TW, FFT_SAMPLES).abs().square()
    energies_TM: Tensor = (power_TF @ _filters(n_mels).T).clamp(min=FLOOR).log()
    return energies_TM


@dataclass(kw_only=True)
class FbankConfig(Encoder.Config):
    """How the log-mel picture is scaled, and which tokens come of its patches."""

    mean: float | None = None
    deviation: float | None = None
    """Of log mel energies: (x - mean) / deviation. None: as published."""
    tokens: str = "time"
    """`time`: patches above each other in frequency are averaged, one token a step in time; `grid`: every patch, low to high within a
    step."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Patches of a chunk: `bins` mel bins by `frames`, patches of `patch` x `patch` at these strides (frequency, time)."""

    bins: int
    frames: int
    patch: int
    strides: tuple[int, int]

    @property
    def rows(self) -> int:
        """Patches above each other."""
        return (self.bins - self.patch) // self.strides[0] + 1

    @property
    def steps(self) -> int:
        """Patches one after another."""
        return (self.frames - self.patch) // self.strides[1] + 1


class FbankEncoder(Encoder):
    """Sound at 16 kHz in chunks of `frames` x 10 ms, each as a log-mel picture padded with zeros, as published.

    A subclass gives `tiny`, `width`, `resolve`, `make_backbone`, `grid`, and `patches` in place of `encode_chunks`.
    """

    modality = "audio"
    Config = FbankConfig
    centred = False
    """Whether the mean of the waveform is taken off first."""

    @classmethod
    @abstractmethod
    def grid(cls, config: Any) -> Grid:
        """Sizes of a resolved config."""

    @abstractmethod
    def patches(self, input_values: Tensor) -> Tensor:
        """Map input_values (C, frames, bins) to states of the patches (C, rows x steps, D), row by row (lowest first)."""

    @classmethod
    def rate_hz(cls, config: Any) -> float:
        """Samples per second."""
        del config
        return float(SAMPLING_RATE_HZ)

    @classmethod
    def known_tokens(cls, config: Any) -> None:
        """Refuse an unknown choice of tokens.

        Raises:
            ConfigError: it is none.
        """
        if config.tokens not in ("time", "grid"):
            raise ConfigError(f"tokens {config.tokens!r};", remedy="known: time, grid.")

    @classmethod
    def preprocess(cls, config: Any, clip: Clip) -> EncoderInput:
        """Cut the waveform into chunks and take each one's log-mel picture.

        Returns:
            EncoderInput with `input_values` (C, frames, bins). A token's time is the middle of the frames it covers; it is real where at
            least its first frame is.

        Raises:
            MediaError: no sound, not at 16 kHz, or less than one frame of it (25 ms).
        """
        grid, waveform_N = cls.grid(config), mono(clip, least=WINDOW_SAMPLES)
        chunk = grid.frames * HOP_SAMPLES
        pieces = [p for p in waveform_N.split(chunk) if len(p) >= WINDOW_SAMPLES]
        mels = [kaldi_fbank(p - p.mean() if cls.centred else p, grid.bins) for p in pieces]
        told_C = torch.tensor([len(m) for m in mels])
        padded_CTF = torch.stack([torch.nn.functional.pad(m, (0, 0, 0, grid.frames - len(m))) for m in mels])
        first_K = torch.arange(grid.steps) * grid.strides[1]
        middle_K = (first_K + (grid.patch - 1) / 2) * HOP_SAMPLES + WINDOW_SAMPLES / 2
        centres_CK = torch.arange(len(pieces))[:, None] * chunk + middle_K
        each = grid.rows if config.tokens == "grid" else 1
        heard = min(len(waveform_N), (len(pieces) - 1) * chunk + len(pieces[-1]))
        return EncoderInput(
            tensors={"input_values": (padded_CTF - config.mean) / config.deviation},
            times_S=(clip.waveform_start_s + centres_CK.double() / SAMPLING_RATE_HZ).float().flatten().repeat_interleave(each),
            mask_S=(first_K < told_C[:, None]).flatten().repeat_interleave(each),
            seconds=heard / SAMPLING_RATE_HZ,
            samples=heard,
        )

    def encode_chunks(self, input_values: Tensor) -> Tensor:
        """Map input_values (C, frames, bins) to tokens (C, steps, D), or (C, steps x rows, D) with `tokens="grid"`.

        Raises:
            ConfigError: another number of frames or bins than the network takes.
        """
        grid = self.grid(self.config)
        if tuple(input_values.shape[1:]) != (grid.frames, grid.bins):
            raise ConfigError(
                f"input_values are {tuple(input_values.shape)}, wanted (C, {grid.frames}, {grid.bins});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        dtype = next(self.backbone.parameters()).dtype
        states_CRKD: Tensor = self.patches(input_values.to(dtype)).unflatten(1, (grid.rows, grid.steps))
        return states_CRKD.mean(dim=1) if self.config.tokens == "time" else states_CRKD.transpose(1, 2).flatten(1, 2)
