"""What the sound encoders share: a checked waveform, and mel filters. Written once for all encoders."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.errors import MediaError

__all__ = ["SAMPLING_RATE_HZ", "mel_filters", "mono"]

SAMPLING_RATE_HZ = 16_000


def mono(clip: Clip, *, least: int) -> Tensor:
    """Return the clip's sound (N,) float32, checked.

    Raises:
        MediaError: no sound, not mono at 16 kHz, or fewer than `least` samples.
    """
    if clip.waveform_N is None:
        raise MediaError("the clip has no sound;", remedy="leave the audio stream out, or give a file with sound.")
    if clip.sampling_rate_hz != SAMPLING_RATE_HZ:
        raise MediaError(f"the sound is at {clip.sampling_rate_hz} Hz, wanted {SAMPLING_RATE_HZ};", remedy="read it with media.read_audio.")
    if clip.waveform_N.ndim != 1 or len(clip.waveform_N) < least:
        ms = 1000 * least // SAMPLING_RATE_HZ
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
