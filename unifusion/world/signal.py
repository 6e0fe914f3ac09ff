"""Small numpy signal tools that the voices, the effects and the acoustic truth share. 16 kHz mono throughout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = [
    "RATE_HZ", "active_level_db", "band", "fade", "frame_levels_db", "limit",
    "resample", "shape_spectrum", "shaped_noise", "to_level", "warp",
]  # fmt: skip

RATE_HZ = 16_000
SILENCE_DB = -100.0
ACTIVE_RANGE_DB = 25.0
FRAME_S = 0.02


def resample(waveform_N: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Band-limited resampling by the Fourier method; the result is float32 and begins at the same instant.

    The signal is padded to a whole number of periods of both rates, so that the spectrum can be cut or extended exactly.
    """
    divisor = int(np.gcd(from_hz, to_hz))
    up, down = to_hz // divisor, from_hz // divisor
    step = 64 if down > 1 else 2048  # sizes with small prime factors keep the transform fast
    blocks = -(-(len(waveform_N) + 64) // (down * step)) * step
    spectrum = np.fft.rfft(waveform_N, blocks * down)
    size = blocks * up
    result = np.fft.irfft(spectrum[: size // 2 + 1], size) * (up / down)
    return np.asarray(result[: len(waveform_N) * up // down], dtype=np.float32)


def warp(waveform_N: np.ndarray, speed_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Play the waveform at a speed that changes over time (1 = unchanged, 1.06 = a semitone up and shorter).

    Args:
        waveform_N: samples at 16 kHz.
        speed_N: speed at each output sample; when it ends early its last value goes on.

    Returns:
        The new samples (float32), and for each of them the time in seconds in the old waveform.
    """
    fine_N = resample(waveform_N, 1, 4)
    speed_N = np.concatenate([speed_N, np.full(int(len(waveform_N) / speed_N[-1]) + 1, speed_N[-1])])
    position_N = np.concatenate([[0.0], np.cumsum(speed_N)])
    position_N = position_N[position_N <= len(waveform_N) - 1]
    played = np.interp(position_N * 4, np.arange(len(fine_N)), fine_N)
    return played.astype(np.float32), position_N / RATE_HZ


def shape_spectrum(waveform_N: np.ndarray, gain_of_hz: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Filter with a zero-phase gain given over frequency in Hz."""
    size = 1 << int(np.ceil(np.log2(len(waveform_N) + 512)))
    spectrum = np.fft.rfft(waveform_N, size)
    spectrum *= gain_of_hz(np.fft.rfftfreq(size, 1 / RATE_HZ))
    return np.fft.irfft(spectrum, size)[: len(waveform_N)]


def shaped_noise(count: int, rng: np.random.Generator, gain_of_hz: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Gaussian noise with the given spectrum, RMS 1."""
    noise_N = shape_spectrum(rng.standard_normal(count), gain_of_hz)
    return np.asarray(noise_N / (np.sqrt(np.mean(noise_N**2)) + 1e-12))


def band(low_hz: float, high_hz: float, order: int = 2) -> Callable[[np.ndarray], np.ndarray]:
    """A band-pass gain with Butterworth-like skirts, for `shape_spectrum`."""

    def gain(hz: np.ndarray) -> np.ndarray:
        """Power response of the band at each frequency."""
        below = (np.maximum(hz, 1e-3) / low_hz) ** (2 * order)
        above = (hz / high_hz) ** (2 * order)
        return np.asarray(np.sqrt(below / (1 + below) / (1 + above)))

    return gain


def frame_levels_db(waveform_N: np.ndarray, frame_s: float = FRAME_S) -> np.ndarray:
    """RMS of consecutive frames in dB re full scale; a last incomplete frame is left out unless it is the only one."""
    size = max(1, int(frame_s * RATE_HZ))
    usable = len(waveform_N) // size * size
    frames = waveform_N[:usable].reshape(-1, size) if usable else waveform_N.reshape(1, -1)
    power = np.mean(np.asarray(frames, dtype=np.float64) ** 2, axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (SILENCE_DB / 10))))


def active_level_db(waveform_N: np.ndarray) -> float:
    """RMS in dB re full scale over the frames (20 ms) within 25 dB of the loudest, after the idea of ITU-T P.56.

    Pauses between words or knocks do not lower it, so a knock and rain at the same level sound about as loud.
    """
    if len(waveform_N) == 0:
        return SILENCE_DB
    levels = frame_levels_db(waveform_N)
    active = levels[levels > levels.max() - ACTIVE_RANGE_DB]
    return float(10 * np.log10(np.mean(10 ** (active / 10)))) if levels.max() > SILENCE_DB else SILENCE_DB


def to_level(waveform_N: np.ndarray, level_db: float) -> np.ndarray:
    """Scale to an active level; silence stays silence."""
    found = active_level_db(waveform_N)
    return waveform_N if found <= SILENCE_DB else waveform_N * 10 ** ((level_db - found) / 20)


def fade(waveform_N: np.ndarray, in_s: float, out_s: float) -> np.ndarray:
    """Raised-cosine fades at both ends."""
    result = np.array(waveform_N, dtype=np.float64)
    for seconds, place in ((in_s, slice(None)), (out_s, slice(None, None, -1))):
        count = min(len(result), int(seconds * RATE_HZ))
        result[place][:count] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / max(1, count))
    return result


def limit(waveform_N: np.ndarray, knee: float = 0.8, ceiling: float = 0.99) -> np.ndarray:
    """Bend peaks above the knee so that none passes the ceiling; everything below the knee is untouched."""
    result = np.array(waveform_N, dtype=np.float64)
    over = np.flatnonzero(np.abs(result) > knee)
    bent = knee + (ceiling - knee) * np.tanh((np.abs(result[over]) - knee) / (ceiling - knee))
    result[over] = np.sign(result[over]) * bent
    return result
