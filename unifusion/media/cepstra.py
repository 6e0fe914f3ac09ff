"""What a voice says, apart from whose it is: log-mel frames, and cepstra of them that two recordings can be compared by."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["HOP_S", "as_heard_in", "cepstra", "log_mels"]

HOP_S = 0.01
"""Seconds from one frame to the next; frame k is around k x HOP_S."""
_WINDOW_S = 0.025
_BANDS, _LOWEST_HZ, _HIGHEST_HZ = 40, 60.0, 7600.0
_SMALLEST = 1e-10
_KEPT = slice(1, 13)
"""Cepstra without the level (the first), and without what tells a voice from another (the upper ones)."""
_RANGE_DB = 25.0
"""How far below the loudest frames a band counts; the best of 20 to 50 on clip world and on spoken digits."""
_LOUD = 95.0
_QUIET = 10.0
_SLOPE, _REACH = 3.0, 2
"""Weight of the cepstra's slopes beside the cepstra, and frames to each side that a slope is taken over."""


def log_mels(waveform_N: np.ndarray, rate_hz: int = 16_000) -> np.ndarray:
    """Return log power (T, 40) in mel bands of 60 to 7,600 Hz; the sound may be of any length."""
    size = round(_WINDOW_S * rate_hz)
    padded_N = np.pad(np.asarray(waveform_N, np.float64), (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded_N, size)[:: round(HOP_S * rate_hz)][: 1 + len(waveform_N) * 100 // rate_hz]
    width = 1 << (size - 1).bit_length()
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), width)))
    logs: np.ndarray = np.log(power @ _bank(width, rate_hz) + _SMALLEST)
    return logs


@lru_cache(maxsize=8)
def _bank(width: int, rate_hz: int) -> np.ndarray:
    """Triangles (bins, 40), evenly spaced in mel."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (_LOWEST_HZ, min(_HIGHEST_HZ, rate_hz / 2)))
    edges = 700 * (10 ** (np.linspace(low, high, _BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(width, 1 / rate_hz)[:, None]
    rising, falling = (hertz - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - hertz) / np.diff(edges)[1:]
    bank: np.ndarray = np.maximum(0.0, np.minimum(rising, falling))
    return bank


def _loud(mels_TF: np.ndarray) -> float:
    """Log power of the loudest frames."""
    return float(np.percentile(np.log(np.exp(mels_TF).sum(1)), _LOUD))


def as_heard_in(clean_TF: np.ndarray, mels_SF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return clean speech as it would be heard in a clip, and the clip, both without what lies too far below the loudest.

    The speech is brought to the clip's level and the clip's steady noise (the lowest tenth of each band) is laid under it: what noise hides
    in the clip is then hidden in both (Gales and Young, "Parallel model combination", 1996). Of 80 clips of clip world this
    lowered the 90th percentile of the error of word boundaries from 95 to 61 ms.
    """
    loud = _loud(mels_SF)
    least = loud - np.log(_BANDS) - _RANGE_DB / 10 * np.log(10)
    noise_F = np.maximum(np.percentile(mels_SF, _QUIET, axis=0), least)
    return np.logaddexp(clean_TF + loud - _loud(clean_TF), noise_F), np.logaddexp(mels_SF, least)


def cepstra(mels_TF: np.ndarray) -> np.ndarray:
    """Return 12 cepstra and their slopes (T, 24), the mean taken out."""
    bands = mels_TF.shape[1]
    turns = np.cos(np.pi / bands * (np.arange(bands) + 0.5)[:, None] * np.arange(bands)[_KEPT]) * np.sqrt(2 / bands)
    found_TD = mels_TF @ turns
    found_TD -= found_TD.mean(0)
    padded = np.pad(found_TD, ((_REACH, _REACH), (0, 0)), mode="edge")
    ahead = [k * (padded[_REACH + k :][: len(found_TD)] - padded[_REACH - k :][: len(found_TD)]) for k in range(1, _REACH + 1)]
    slopes_TD = np.sum(ahead, axis=0) / (2 * sum(k * k for k in range(1, _REACH + 1)))
    return np.concatenate([found_TD, _SLOPE * slopes_TD], axis=1)
