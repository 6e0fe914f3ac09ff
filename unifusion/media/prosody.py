"""What a voice sounds like, measured: how loud, how high, how fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Prosody", "measure_prosody"]

_FRAME_S, _HOP_S = 0.04, 0.01
_LOWEST_HZ, _HIGHEST_HZ = 65.0, 500.0
_VOICED = 0.5
_QUIET_DB = 25.0
"""Frames that are softer than the loudest by more are pauses."""
_DIP_DB = 2.0
_APART_S = 0.08
_LAST_S = 0.06
_FLOOR = 1e-10


@dataclass(frozen=True, kw_only=True)
class Prosody:
    """Measures of one voice.

    Attributes:
        level_db: power of the frames that are no pauses, in decibels of full scale.
        pitch_hz: median fundamental frequency of the voiced frames; None where nothing is voiced.
        rate_hz: syllable nuclei a second between the first and the last frame that is no pause.
        brightness_hz: centre of gravity of the spectrum of those frames.
        start_s, end_s: the first and the end of the last frame that is no pause.
        cut: the voice is still heard at the very end, so its last words may be missing.
    """

    level_db: float
    pitch_hz: float | None
    rate_hz: float
    brightness_hz: float
    start_s: float = 0.0
    end_s: float = 0.0
    cut: bool = False


def measure_prosody(waveform_N: np.ndarray, *, rate_hz: int = 16_000) -> Prosody | None:
    """Measure a voice (N,) float32; None for silence or less than a tenth of a second.

    Pitch by the normalised autocorrelation of 40 ms frames (Boersma 1993, without its path search); syllable nuclei are voiced
    peaks of intensity with a dip of 2 dB between them (de Jong and Wempe 2009).
    """
    if len(waveform_N) < rate_hz // 10:
        return None
    frames_TN = _frames(np.asarray(waveform_N, np.float64), rate_hz)
    power_T = np.square(frames_TN).mean(1)
    level_T = 10 * np.log10(power_T + _FLOOR)
    loud_T = level_T > max(level_T.max() - _QUIET_DB, -70.0)
    if not loud_T.any():
        return None
    pitch_T = _pitch(frames_TN, rate_hz)
    voiced_T = loud_T & (pitch_T > 0)
    spectrum_F = np.square(np.abs(np.fft.rfft(frames_TN[loud_T] * np.hanning(frames_TN.shape[1])))).mean(0)
    hertz_F = np.fft.rfftfreq(frames_TN.shape[1], 1 / rate_hz)
    at = np.flatnonzero(loud_T)
    return Prosody(
        level_db=float(10 * np.log10(power_T[loud_T].mean() + _FLOOR)),
        pitch_hz=float(np.median(pitch_T[voiced_T])) if voiced_T.any() else None,
        rate_hz=float(_nuclei(level_T, voiced_T) / ((at[-1] - at[0] + 1) * _HOP_S)),
        brightness_hz=float((spectrum_F * hertz_F).sum() / max(spectrum_F.sum(), _FLOOR)),
        start_s=float(at[0] * _HOP_S),
        end_s=float(at[-1] * _HOP_S + _FRAME_S),
        cut=bool(at[-1] * _HOP_S + _FRAME_S > len(waveform_N) / rate_hz - _LAST_S),
    )


def _frames(waveform_N: np.ndarray, rate_hz: int) -> np.ndarray:
    """Overlapping frames (T, N), without their mean."""
    length, hop = round(_FRAME_S * rate_hz), round(_HOP_S * rate_hz)
    frames_TN = np.lib.stride_tricks.sliding_window_view(waveform_N, length)[::hop]
    centred: np.ndarray = frames_TN - frames_TN.mean(1, keepdims=True)
    return centred


def _pitch(frames_TN: np.ndarray, rate_hz: int) -> np.ndarray:
    """Fundamental frequency (T,) in hertz, 0 where a frame is not voiced."""
    length = frames_TN.shape[1]
    window_N = np.hanning(length)
    size = 2 ** int(np.ceil(np.log2(2 * length)))
    own_N = np.fft.irfft(np.square(np.abs(np.fft.rfft(window_N, size))))[:length]
    found_TN = np.fft.irfft(np.square(np.abs(np.fft.rfft(frames_TN * window_N, size))))[:, :length]
    # Dividing by the window's own autocorrelation undoes its taper, so that longer periods are not at a disadvantage.
    found_TN = found_TN / np.maximum(found_TN[:, :1], _FLOOR) / np.maximum(own_N / own_N[0], 1e-3)
    low, high = int(rate_hz / _HIGHEST_HZ), min(int(rate_hz / _LOWEST_HZ), length // 2 + length // 8)
    inside_TL = found_TN[:, low:high]
    best_T = inside_TL.max(1)
    # The first period that is nearly as good as the best: a multiple of it fits just as well.
    near_TL = inside_TL >= 0.9 * best_T[:, None]
    peak_TL = np.zeros_like(near_TL)
    peak_TL[:, 1:-1] = (inside_TL[:, 1:-1] >= inside_TL[:, :-2]) & (inside_TL[:, 1:-1] >= inside_TL[:, 2:])
    good_TL = near_TL & peak_TL
    pitch_T: np.ndarray = np.where((best_T >= _VOICED) & good_TL.any(1), rate_hz / (low + good_TL.argmax(1)), 0.0)
    return pitch_T


def _nuclei(level_T: np.ndarray, voiced_T: np.ndarray) -> int:
    """Voiced peaks of intensity, each with a dip before the next."""
    smooth_T = np.convolve(np.pad(level_T, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    count, last, lowest = 0, -(10**9), np.inf
    peak = -np.inf
    for t in range(1, len(smooth_T) - 1):
        lowest = min(lowest, smooth_T[t])
        if not (smooth_T[t] >= smooth_T[t - 1] and smooth_T[t] > smooth_T[t + 1] and voiced_T[t]):
            continue
        dipped = smooth_T[t] - lowest >= _DIP_DB and peak - lowest >= _DIP_DB
        if count == 0 or (dipped and (t - last) * _HOP_S >= _APART_S):
            count, last, peak, lowest = count + 1, t, smooth_T[t], np.inf
        elif smooth_T[t] > peak:
            peak, last, lowest = smooth_T[t], t, np.inf
    return count
