"""What espeak-ng's parameters cannot do: tremor, smile, breath, harshness, creak, spectral tilt.

Each function takes and returns float samples at 16 kHz and draws any randomness from the generator given. The cue that
each stands for is named in `prosody.py`.
"""

from __future__ import annotations

import numpy as np

from unifusion.world.prosody import Prosody
from unifusion.world.signal import RATE_HZ, band, shape_spectrum, shaped_noise

__all__ = ["LILT_HZ", "TREMOR_HZ", "breathe", "colour", "creak", "rasp", "speed_curve", "tilt", "tremble"]

TREMOR_HZ = 7.0
LILT_HZ = 2.6


def speed_curve(count: int, formant_shift: float, cues: Prosody, rng: np.random.Generator) -> np.ndarray:
    """Playing speed per sample: the speaker's size and smile, a slow natural drift, tremor, jitter.

    Drift stands for the flutter of a living voice (about 0.6 %); lilt swings F0 by up to 10 %, tremor by 4 %, jitter by 2 %.
    """
    time_s = np.arange(count) / RATE_HZ
    speed = np.full(count, (1 + formant_shift) * (1 + cues.smile))
    for hz in (1.3, 2.9, 5.3):
        speed *= 1 + 0.003 * np.sin(2 * np.pi * (hz * rng.uniform(0.8, 1.2) * time_s + rng.random()))
    if cues.lilt:
        speed *= 1 + 0.1 * cues.lilt * np.sin(2 * np.pi * LILT_HZ * time_s)
    if cues.tremor:
        speed *= 1 + 0.04 * cues.tremor * np.sin(2 * np.pi * TREMOR_HZ * time_s)
    if cues.rasp:
        steps = rng.uniform(-1, 1, count // 80 + 2)
        speed *= 1 + 0.02 * cues.rasp * np.interp(np.arange(count) / 80, np.arange(len(steps)), steps)
    return speed


def tilt(waveform_N: np.ndarray, gain_db: float) -> np.ndarray:
    """High-frequency energy: a shelf that rises from 0 at 800 Hz to `gain_db` at 3.2 kHz."""

    def gain(hz: np.ndarray) -> np.ndarray:
        place = np.clip(np.log2(np.maximum(hz, 1.0) / 800) / 2, 0, 1)
        return np.asarray(10 ** (gain_db * place / 20))

    return shape_spectrum(waveform_N, gain)


def envelope(waveform_N: np.ndarray, window_s: float = 0.02) -> np.ndarray:
    """Running RMS."""
    size = int(window_s * RATE_HZ) | 1
    total = np.concatenate([[0.0], np.cumsum(np.pad(np.asarray(waveform_N, dtype=np.float64) ** 2, size // 2))])
    return np.asarray(np.sqrt(np.maximum(total[size:] - total[:-size], 0) / size))


def tremble(waveform_N: np.ndarray, depth: float) -> np.ndarray:
    """Amplitude tremor at 7 Hz, in step with the tremor of F0; a depth of 1 goes down to a third."""
    time_s = np.arange(len(waveform_N)) / RATE_HZ
    return waveform_N * (1 - 0.33 * depth * (1 + np.sin(2 * np.pi * TREMOR_HZ * time_s)))


def breathe(waveform_N: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Aspiration noise that follows the voice's own envelope."""
    noise_N = shaped_noise(len(waveform_N), rng, band(500, 2500, 1))
    return np.asarray(waveform_N + amount * envelope(waveform_N) * noise_N)


def rasp(waveform_N: np.ndarray, drive: float) -> np.ndarray:
    """Soft clipping at up to 12 dB above the RMS level: the harshness of an angry voice."""
    level = float(np.sqrt(np.mean(waveform_N**2))) + 1e-9
    gain = (1 + 3 * drive) / (4 * level)
    return np.tanh(waveform_N * gain) / gain


def creak(waveform_N: np.ndarray, depth: float, rng: np.random.Generator) -> np.ndarray:
    """Glottal pulses of creaky voice: the amplitude falls and is struck anew at irregular 24-34 Hz."""
    gaps = rng.uniform(1 / 34, 1 / 24, int(len(waveform_N) / RATE_HZ * 40) + 2)
    strikes = np.concatenate([[0.0], np.cumsum(gaps)])
    time_s = np.arange(len(waveform_N)) / RATE_HZ
    since = time_s - strikes[np.searchsorted(strikes, time_s, side="right") - 1]
    return np.asarray(waveform_N * (1 - min(0.95, depth * 0.85) * (1 - np.exp(-since / 0.012))))


def colour(waveform_N: np.ndarray, cues: Prosody, rng: np.random.Generator) -> np.ndarray:
    """Apply every cue that acts on the samples; level is the caller's."""
    result = np.asarray(waveform_N, dtype=np.float64)
    if cues.rasp:
        result = rasp(result, cues.rasp)
    if cues.creak:
        result = creak(result, cues.creak, rng)
    if cues.breath:
        result = breathe(result, cues.breath, rng)
    if cues.tilt_db:
        result = tilt(result, cues.tilt_db)
    if cues.tremor:
        result = tremble(result, cues.tremor)
    return result
