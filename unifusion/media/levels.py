"""How loud a sound is from moment to moment: where it is silent, and whether it can be speech at all."""

from __future__ import annotations

import numpy as np

__all__ = ["STEP_S", "can_be_speech", "levels_db", "quiet_spans", "quietest"]

STEP_S = 0.025
_FLOOR_DB = -100.0
_SILENT_DB = -50.0
"""No moment of speech that a recogniser could use is softer than this (power below full scale)."""
_STEADY_DB = 3.0
"""Syllables and pauses make the level of speech rise and fall by 15 dB and more; hiss and hum keep it: noise measured 0.9 dB."""
_QUIET_DB = 25.0


def levels_db(waveform_N: np.ndarray, rate_hz: int) -> np.ndarray:
    """Power in decibels of full scale (K,) of each 25 ms; the rest at the end counts as a whole one."""
    step = max(1, round(STEP_S * rate_hz))
    count = -(-len(waveform_N) // step)
    padded = np.zeros(count * step, np.float64)
    padded[: len(waveform_N)] = waveform_N
    return np.asarray(10 * np.log10(np.square(padded).reshape(count, step).mean(axis=1) + 10 ** (_FLOOR_DB / 10)))


def can_be_speech(waveform_N: np.ndarray, rate_hz: int) -> str:
    """Return "" where a sound may be speech, else why not: `silent`, or `steady` as noise and hum are."""
    levels_K = levels_db(waveform_N, rate_hz)
    if not len(levels_K) or float(levels_K.max()) < _SILENT_DB:
        return "silent"
    low, high = np.percentile(levels_K, (5, 95))
    return "steady" if high - low < _STEADY_DB else ""


def quiet_spans(levels_K: np.ndarray, *, least_s: float = 0.3) -> list[tuple[float, float]]:
    """Pauses of a recording in seconds: at least `least_s` long, and 25 dB softer than its loud moments or below -60 dB."""
    if not len(levels_K):
        return []
    quiet_K = levels_K < max(float(np.percentile(levels_K, 95)) - _QUIET_DB, -60.0)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet_K.astype(np.int8), [0]])))
    spans = [(float(a) * STEP_S, float(b) * STEP_S) for a, b in edges.reshape(-1, 2)]
    return [(a, b) for a, b in spans if b - a >= least_s - 1e-9]


def quietest(waveform_N: np.ndarray, rate_hz: int) -> int:
    """The sample in the middle of the softest 0.2 s of the last half: where a long sound is best cut."""
    half = len(waveform_N) // 2
    levels_K = levels_db(waveform_N[half:], rate_hz)
    width = max(1, min(round(0.2 / STEP_S), len(levels_K)))
    power = np.convolve(10 ** (levels_K / 10), np.ones(width), "valid")
    # Of equally soft moments the last: fewer pieces.
    best = len(power) - 1 - int(np.argmin(power[::-1]))
    return min(len(waveform_N), half + round((best + width / 2) * STEP_S * rate_hz))
