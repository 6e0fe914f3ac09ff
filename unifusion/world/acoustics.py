"""Plain numpy measurements of a waveform: the acoustic truth that shows clip world's questions can be answered by ear.

F0 by normalised autocorrelation (Boersma 1993) over 40 ms frames every 10 ms; the rest are standard descriptors
(spectral centroid and spread, envelope modulation, onset rate by spectral flux).
"""

from __future__ import annotations

from math import log2

import numpy as np

from unifusion.world.signal import ACTIVE_RANGE_DB, RATE_HZ, active_level_db

__all__ = ["acoustic_features", "f0_track", "onset_times_s"]

FRAME, HOP = 640, 160
HOP_S = HOP / RATE_HZ
LOWEST_HZ, HIGHEST_HZ = 55.0, 520.0
VOICED = 0.55
LOUD_DB = -60.0


def _frames(waveform_N: np.ndarray) -> np.ndarray:
    """Overlapping frames (F, 640); a shorter waveform is padded with silence to one frame."""
    padded = np.pad(np.asarray(waveform_N, dtype=np.float64), (0, max(0, FRAME - len(waveform_N))))
    return np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]


def f0_track(waveform_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per 10 ms frame: F0 in Hz (0 where unvoiced), strength of the period (0-1), level in dB re full scale."""
    frames = _frames(waveform_N)
    level_db = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    window = np.hanning(FRAME)
    spectrum = np.abs(np.fft.rfft((frames - frames.mean(1, keepdims=True)) * window, 2048)) ** 2
    correlation = np.fft.irfft(spectrum)[:, :FRAME]
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 2048)) ** 2)[:FRAME]
    shortest, longest = int(RATE_HZ / HIGHEST_HZ), int(RATE_HZ / LOWEST_HZ)
    lags = slice(shortest, longest)
    curve = correlation[:, lags] / (correlation[:, :1] + 1e-12) / (own[lags] / own[0])
    best = curve.max(1)
    # the shortest lag that is nearly as good as the best: the fundamental, not its octaves below
    good = (curve >= 0.9 * best[:, None]) & _peaks(curve)
    lag = np.where(good.any(1), good.argmax(1), curve.argmax(1)) + shortest
    active = level_db > max(level_db.max() - ACTIVE_RANGE_DB, LOUD_DB)
    voiced = active & (best > VOICED)
    return np.where(voiced, RATE_HZ / lag, 0.0), np.clip(best, 0, 1), level_db


def _peaks(curve: np.ndarray) -> np.ndarray:
    """Where a curve (F, L) is a local maximum along L."""
    inner = (curve[:, 1:-1] >= curve[:, :-2]) & (curve[:, 1:-1] >= curve[:, 2:])
    return np.pad(inner, ((0, 0), (1, 1)))


def onset_times_s(waveform_N: np.ndarray, least_gap_s: float = 0.15, rise_db: float = 8.0) -> list[float]:
    """Return when sounds begin: the smoothed 5 ms level rises by `rise_db` over its lowest value of the last 60 ms."""
    size = RATE_HZ // 200
    usable = len(waveform_N) // size * size
    if usable == 0:
        return []
    power = np.mean(np.asarray(waveform_N[:usable], dtype=np.float64).reshape(-1, size) ** 2, axis=1)
    level = 10 * np.log10(np.convolve(power, np.ones(3) / 3, mode="same") + 1e-9)
    floor = max(level.max() - ACTIVE_RANGE_DB, LOUD_DB)
    level = np.maximum(level, floor - rise_db)
    history = np.lib.stride_tricks.sliding_window_view(np.pad(level, (12, 0), constant_values=floor - rise_db), 12).min(1)[: len(level)]
    found: list[float] = []
    for index in np.flatnonzero((level - history > rise_db) & (level > floor)):
        time_s = float(index) / 200
        if not found or time_s - found[-1] >= least_gap_s:
            found.append(time_s)
    return found


def _modulation(curve: np.ndarray, low_hz: float, high_hz: float, rate_hz: float) -> float:
    """Share of a curve's variation (mean taken out) that lies in a band of modulation frequencies, in dB from -40 to 0."""
    if len(curve) < 8:
        return -40.0
    centred = (curve - curve.mean()) * np.hanning(len(curve))
    power = np.abs(np.fft.rfft(centred, 4096)) ** 2
    hz = np.fft.rfftfreq(4096, 1 / rate_hz)
    total = power[(hz > 0.5) & (hz < 45)].sum() + 1e-12
    return float(10 * np.log10(power[(hz >= low_hz) & (hz < high_hz)].sum() / total + 1e-4))


def _pitch_features(f0_F: np.ndarray, strength_F: np.ndarray, active_F: np.ndarray) -> dict[str, float]:
    """Median, spread and movement of F0 in semitones; zeros where nothing is voiced."""
    voiced = np.flatnonzero(f0_F > 0)
    share = len(voiced) / max(1, int(active_F.sum()))
    if len(voiced) < 5:
        return dict.fromkeys(_PITCH_NAMES, 0.0) | {"f0_lilt_db": -40.0, "f0_tremor_db": -40.0, "voiced_ratio": share}
    pitch = 12 * np.log2(f0_F[voiced] / 100)
    pitch = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(pitch, 2, mode="edge"), 5), axis=1)  # octave errors are single frames
    low, first, middle, third, high = np.percentile(pitch, [5, 25, 50, 75, 95])
    place = (voiced - voiced[0]) / max(1, voiced[-1] - voiced[0])
    ending, body = pitch[place > 0.8], pitch[place < 0.5]
    smooth = np.interp(np.arange(voiced[0], voiced[-1] + 1), voiced, pitch)
    return {
        "f0_hz": float(100 * 2 ** (middle / 12)),
        "f0_iqr_st": float(third - first),
        "f0_range_st": float(high - low),
        "f0_rise_st": float(np.median(ending) - np.median(body)) if len(ending) and len(body) else 0.0,
        "f0_lilt_db": _modulation(smooth, 2.0, 3.4, 1 / HOP_S),
        "f0_tremor_db": _modulation(smooth, 5.5, 8.5, 1 / HOP_S),
        "voiced_ratio": share,
        "periodicity": float(np.median(strength_F[voiced])),
    }


def _spectral_features(waveform_N: np.ndarray, active_F: np.ndarray) -> dict[str, float]:
    """Shape of the mean power spectrum over the active frames."""
    frames = _frames(waveform_N)[active_F]
    power = np.mean(np.abs(np.fft.rfft(frames * np.hanning(FRAME), 1024)) ** 2, axis=0) + 1e-12
    hz = np.fft.rfftfreq(1024, 1 / RATE_HZ)
    total = power.sum()
    centroid = float((hz * power).sum() / total)
    low, middle, high = power[hz < 300].sum(), power[hz < 1000].sum(), power[(hz >= 1500) & (hz < 5000)].sum()
    return {
        "centroid_hz": centroid,
        "spread_hz": float(np.sqrt(((hz - centroid) ** 2 * power).sum() / total)),
        "flatness_db": float(10 * (np.mean(np.log10(power)) - log2(power.mean()) / log2(10))),
        "low_share": float(low / total),
        "tilt_db": float(10 * np.log10(high / middle)),
    }


def _third(waveform_N: np.ndarray) -> float:
    """Major against minor: the best triad over all roots, major score less minor score (log energy at its tones)."""
    size = 1 << int(np.ceil(np.log2(max(len(waveform_N), 32768))))
    power = np.abs(np.fft.rfft(np.asarray(waveform_N) * np.hanning(len(waveform_N)), size)) ** 2
    semitones = np.arange(48, 97)  # MIDI notes; roots lie between C3 and C5
    hz = 440 * 2 ** ((semitones - 69) / 12)
    half = hz * (2 ** (1 / 48) - 1)
    edges = np.round(np.stack([hz - half, hz + half]) * size / RATE_HZ).astype(int)
    tone = np.array([power[low : high + 1].max() for low, high in edges.T])
    strength = np.sqrt(tone / (tone.max() + 1e-12))
    roots = strength[:-24]
    major = roots + strength[4:-20] + strength[7:-17]
    minor = roots + strength[3:-21] + strength[7:-17]
    return float(major.max() - minor.max())


def acoustic_features(waveform_N: np.ndarray) -> dict[str, float]:
    """Measure one waveform (16 kHz mono).

    Returns:
        level_db (active level); f0_hz (median), f0_iqr_st, f0_range_st (5-95 %), f0_rise_st (last fifth over the first half);
        f0_lilt_db, f0_tremor_db (share of F0's modulation at 2-3.4 and 5.5-8.5 Hz), tremor_db, roughness_db (share of the
        envelope's at 5.5-8.5 and 22-40 Hz); voiced_ratio, periodicity; centroid_hz, spread_hz, flatness_db, low_share (energy below
        300 Hz), tilt_db (1.5-5 kHz over below 1 kHz); onset_rate_hz, active_share (frames that sound), speech_s (first to last
        of them), third (above 0 major, below 0 minor, if it is a chord).
    """
    f0_F, strength_F, level_F = f0_track(waveform_N)
    active_F = level_F > max(level_F.max() - ACTIVE_RANGE_DB, LOUD_DB)
    if not active_F.any():
        return dict.fromkeys(_NAMES, 0.0) | {"level_db": active_level_db(waveform_N)}
    where = np.flatnonzero(active_F)
    speech_s = (where[-1] - where[0]) * HOP_S + FRAME / RATE_HZ
    fine = np.sqrt(np.convolve(np.asarray(waveform_N, dtype=np.float64) ** 2, np.ones(160) / 160, mode="same")[::80] + 1e-12)
    return {
        "level_db": active_level_db(waveform_N),
        **_pitch_features(f0_F, strength_F, active_F),
        **_spectral_features(waveform_N, active_F),
        "tremor_db": _modulation(fine, 5.5, 8.5, RATE_HZ / 80),
        "roughness_db": _modulation(fine, 22.0, 40.0, RATE_HZ / 80),
        "onset_rate_hz": len(onset_times_s(waveform_N)) / speech_s,
        "active_share": float(active_F.mean()),
        "speech_s": float(speech_s),
        "third": _third(waveform_N),
    }


_PITCH_NAMES = ("f0_hz", "f0_iqr_st", "f0_range_st", "f0_rise_st", "f0_lilt_db", "f0_tremor_db", "voiced_ratio", "periodicity")
_NAMES = (
    *_PITCH_NAMES, "centroid_hz", "spread_hz", "flatness_db", "low_share", "tilt_db", "tremor_db", "roughness_db",
    "onset_rate_hz", "active_share", "speech_s", "third",
)  # fmt: skip
