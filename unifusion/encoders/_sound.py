"""What the sound encoders share: a checked waveform, and mel filters. Written once for all encoders."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.errors import ConfigError, MediaError

__all__ = ["HOP_SAMPLES", "SAMPLING_RATE_HZ", "hold_whole_tokens", "log_mel", "mel_filters", "mono", "normalised"]

SAMPLING_RATE_HZ = 16_000
HOP_SAMPLES = 160
FFT_SAMPLES = 512
WINDOW_SAMPLES = 400
PREEMPHASIS = 0.97
ZERO_GUARD = 2.0**-24


def hold_whole_tokens(chunk_s: float, token_s: float) -> None:
    """Refuse a chunk that does not hold a whole number of tokens.

    Raises:
        ConfigError: names the nearest length that does.
    """
    tokens = chunk_s / token_s
    if tokens < 1 or abs(tokens - round(tokens)) > 1e-6:
        raise ConfigError(
            f"a chunk of {chunk_s} s does not hold whole tokens of {token_s} s;",
            remedy=f"set chunk_s to {max(1, round(tokens)) * token_s:g}.",
        )


def mono(clip: Clip, *, least: int, rate_hz: int = SAMPLING_RATE_HZ) -> Tensor:
    """Return the clip's sound (N,) float32, checked.

    Raises:
        MediaError: no sound, not mono at `rate_hz`, or fewer than `least` samples.
    """
    if clip.waveform_N is None:
        raise MediaError("the clip has no sound;", remedy="leave the audio stream out, or give a file with sound.")
    if clip.sampling_rate_hz != rate_hz:
        raise MediaError(
            f"the sound is at {clip.sampling_rate_hz} Hz, wanted {rate_hz};",
            remedy=f"read it with read_clip(.., sampling_rate_hz={rate_hz}).",
        )
    if clip.waveform_N.ndim != 1 or len(clip.waveform_N) < least:
        ms = 1000 * least // rate_hz
        raise MediaError(
            f"the sound has shape {clip.waveform_N.shape}, wanted (N,) with at least {least} samples ({ms} ms);",
            remedy="give a longer span of mono sound.",
        )
    return torch.tensor(clip.waveform_N, dtype=torch.float32)


@lru_cache(maxsize=8)
def mel_filters(n_mels: int, fft_samples: int) -> Tensor:
    """Slaney's mel filters (n_mels, fft_samples / 2 + 1) up to 8 kHz, as Whisper and Parakeet use them."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(
        num_frequency_bins=fft_samples // 2 + 1, num_mel_filters=n_mels, min_frequency=0.0, max_frequency=SAMPLING_RATE_HZ / 2,
        sampling_rate=SAMPLING_RATE_HZ, norm="slaney", mel_scale="slaney",
    )  # fmt: skip
    return torch.from_numpy(bank).float().T.contiguous()


@lru_cache(maxsize=4)
def _window() -> Tensor:
    return torch.hann_window(WINDOW_SAMPLES, periodic=False)


def log_mel(waveform_CN: Tensor, samples_C: Tensor, n_mels: int) -> Tensor:
    """Return natural logarithms of mel power (C, n_mels, N / 160) after pre-emphasis, as ParakeetFeatureExtractor gives them.

    Args:
        waveform_CN: at 16 kHz, padded with zeros.
        samples_C: real samples of each row.
        n_mels: mel bins.
    """
    sharp_CN = torch.cat([waveform_CN[:, :1], waveform_CN[:, 1:] - PREEMPHASIS * waveform_CN[:, :-1]], dim=1)
    sharp_CN = sharp_CN.masked_fill(torch.arange(waveform_CN.shape[1]) >= samples_C[:, None], 0.0)
    spectrum: Any = torch.stft(
        sharp_CN, FFT_SAMPLES, HOP_SAMPLES, WINDOW_SAMPLES, window=_window(), return_complex=True, pad_mode="constant"
    )
    power = spectrum[..., :-1].abs().square().contiguous()
    mels_CFT: Tensor = (mel_filters(n_mels, FFT_SAMPLES) @ power + ZERO_GUARD).log()
    return mels_CFT


def normalised(mels_CFT: Tensor, real_CT: Tensor, fixed: tuple[float, float] | None) -> Tensor:
    """Scale log-mels by fixed numbers, or each bin by its own mean and deviation over the real frames; zero after the end."""
    mask_C1T = real_CT[:, None]
    if fixed is not None:
        return ((mels_CFT - fixed[0]) / fixed[1]) * mask_C1T
    count_C11 = mask_C1T.sum(-1, keepdim=True)
    mean = (mels_CFT * mask_C1T).sum(-1, keepdim=True) / count_C11
    variance = ((mels_CFT - mean).square() * mask_C1T).sum(-1, keepdim=True) / (count_C11 - 1).clamp(min=1)
    return (mels_CFT - mean) / (variance.sqrt() + 1e-5) * mask_C1T
