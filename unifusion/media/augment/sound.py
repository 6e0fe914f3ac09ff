"""Changes to a sound, each by an amount that is given: noise, level, speed, tempo, pitch, another recording of it."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from unifusion.conversation import Take
from unifusion.errors import ConfigError

__all__ = ["Noise", "add_noise", "change_gain", "change_pitch", "change_speed", "level_db", "mix_at_snr", "noise", "retake",
           "shift_sound", "stretch_time", "within_scale"]  # fmt: skip

Noise = Literal["white", "pink"]
_FLOOR = 1e-5
_LOWEST_HZ = 20.0
"""Pink noise is level below: what nobody hears would hold most of its power."""
_FRAME_S, _SEARCH_S = 0.04, 0.0125
"""Pieces that a change of tempo puts together, and how far one is moved for its waves to go on: a period of 80 Hz."""


def noise(count: int, rng: np.random.Generator, *, color: Noise = "white", rate_hz: int = 16_000) -> np.ndarray:
    """Return `count` samples of noise of power 1: equal in each hertz (white), or in each octave from 20 Hz on (pink).

    Raises:
        ConfigError: another colour.
    """
    if color not in get_args(Noise):
        raise ConfigError(f"noise of colour {color!r};", remedy=f"known: {', '.join(get_args(Noise))}.")
    white_N = rng.standard_normal(count, dtype=np.float32)
    if color == "white" or count < 2:
        return white_N
    hertz_F = np.maximum(np.fft.rfftfreq(count, 1 / rate_hz), _LOWEST_HZ)
    pink_N = np.fft.irfft(np.fft.rfft(white_N) / np.sqrt(hertz_F), count)
    scaled: np.ndarray = (pink_N / np.sqrt(np.mean(pink_N**2))).astype(np.float32)
    return scaled


def add_noise(
    waveform_N: np.ndarray, snr_db: float, rng: np.random.Generator, *, color: Noise = "white", rate_hz: int = 16_000
) -> np.ndarray:
    """Add noise so that signal power over noise power is `snr_db`. White 1 ms, pink 4 ms for 5 s at 16 kHz."""
    return mix_at_snr(waveform_N, noise(len(waveform_N), rng, color=color, rate_hz=rate_hz), snr_db)


def mix_at_snr(waveform_N: np.ndarray, noise_N: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise so that signal power over noise power is `snr_db`; a silent signal or noise is returned unchanged."""
    signal, power = float(np.mean(waveform_N**2)), float(np.mean(noise_N**2))
    if signal == 0.0 or power == 0.0:
        return waveform_N
    scale = np.sqrt(signal / power / 10 ** (snr_db / 10))
    mixed: np.ndarray = waveform_N + scale * noise_N
    return mixed.astype(np.float32)


def change_gain(waveform_N: np.ndarray, gain_db: float) -> np.ndarray:
    """Make the sound louder by so many decibels; what leaves [-1, 1] is not cut off here (`within_scale`)."""
    louder: np.ndarray = waveform_N * np.float32(10 ** (gain_db / 20))
    return louder


def within_scale(waveform_N: np.ndarray) -> np.ndarray:
    """Make a sound that leaves [-1, 1] softer until it does not; its signal-to-noise ratio stays, which cutting off would change."""
    peak = float(np.abs(waveform_N).max(initial=0.0))
    held: np.ndarray = (waveform_N / np.float32(peak) if peak > 1.0 else waveform_N).astype(np.float32).clip(-1.0, 1.0)
    return held


def change_speed(waveform_N: np.ndarray, rate_hz: int, factor: float) -> np.ndarray:
    """Play a sound (N,) `factor` times as fast: round(N / factor) samples, pitch goes with it. 2 ms for 5 s at 16 kHz."""
    from unifusion.media.sound import resampled

    _hold(factor)
    return _of_length(resampled(waveform_N, round(rate_hz * factor), rate_hz), round(len(waveform_N) / factor))


def stretch_time(waveform_N: np.ndarray, rate_hz: int, factor: float) -> np.ndarray:
    """Say the same `factor` times as fast at the same pitch: a sound of round(N / factor) samples. 12 ms for 5 s at 16 kHz.

    By WSOLA (Verhelst and Roelands, "An overlap-add technique based on waveform similarity ..", 1993): windowed pieces of 40 ms, each taken
    up to 12.5 ms beside its place, where it goes on best with the piece before. FFmpeg's `atempo` gave 1 % more or less and everything
    20 to 40 ms early; the phase vocoder of librosa smears what is sudden, as consonants are.
    """
    _hold(factor)
    length = 2 * (round(_FRAME_S * rate_hz) // 2)
    hop, reach, count = length // 2, round(_SEARCH_S * rate_hz), round(len(waveform_N) / factor)
    if factor == 1.0 or len(waveform_N) < length:
        return _of_length(waveform_N.astype(np.float32), count)
    window_L = np.hanning(length + 1)[:-1].astype(np.float32)  # its halves add up to one
    padded_N = np.pad(waveform_N.astype(np.float32), (hop + reach, 6 * length))
    out_N = np.zeros(count + 2 * length, np.float32)
    place = reach  # of the first piece, whose middle is sample 0
    for start in range(0, count + hop, hop):
        if start:
            place = _best(padded_N, place + hop, round(start * factor), length, reach)
        out_N[start : start + length] += padded_N[place : place + length] * window_L
    return out_N[hop : hop + count]


def _best(padded_N: np.ndarray, follows: int, first: int, length: int, reach: int) -> int:
    """Where from `first` on, at most 2 x `reach` later, the sound is most like what follows the last piece."""
    like_L = padded_N[follows : follows + length]
    heard_N = padded_N[first : first + length + 2 * reach]
    power = np.cumsum(np.concatenate(([0.0], np.square(heard_N, dtype=np.float64))))
    energy = power[length:] - power[:-length]
    found = np.correlate(heard_N, like_L, mode="valid") / np.sqrt(np.maximum(energy, _FLOOR))
    return first + (int(found.argmax()) if found.max() > 0 else reach)


def change_pitch(waveform_N: np.ndarray, rate_hz: int, semitones: float) -> np.ndarray:
    """Raise the pitch by so many semitones at the same length: faster, then slower again without its pitch. 15 ms for 5 s at 16 kHz."""
    factor = 2 ** (semitones / 12)
    return _of_length(stretch_time(change_speed(waveform_N, rate_hz, factor), rate_hz, 1 / factor), len(waveform_N))


def _hold(factor: float) -> None:
    """Refuse a factor that cannot be meant."""
    if not 0.25 <= factor <= 4.0:
        raise ConfigError(f"a sound {factor!r} times as fast;", remedy="give a factor from 0.25 to 4.")


def _of_length(waveform_N: np.ndarray, count: int) -> np.ndarray:
    """Cut a sound, or fill it up with silence."""
    return np.pad(waveform_N[:count], (0, max(0, count - len(waveform_N))))


def level_db(waveform_N: np.ndarray) -> float:
    """Power in decibels of full scale; -100 of silence."""
    return float(10 * np.log10(np.mean(np.square(waveform_N, dtype=np.float64)) + _FLOOR**2)) if len(waveform_N) else -100.0


def retake(waveform_N: np.ndarray, rate_hz: int, take: Take) -> np.ndarray:
    """Return a sound (N,) as another recording of it has it; N goes with the speed."""
    out, own_db = waveform_N.astype(np.float32), level_db(waveform_N)
    if take.speed != 1.0:
        out = np.interp(np.arange(0.0, len(out) - 1, take.speed), np.arange(len(out)), out).astype(np.float32)
    if take.tilt_db or take.bump_db:
        octave_F = np.log2(np.maximum(np.fft.rfftfreq(len(out), 1 / rate_hz), 50.0) / 1000.0)
        change_F = take.tilt_db * octave_F + take.bump_db * np.exp(-np.square(octave_F - take.bump_octave))
        out = np.fft.irfft(np.fft.rfft(out) * 10 ** (change_F / 20), len(out)).astype(np.float32)
    loudest = float(np.abs(out).max(initial=0.0))
    gain_db = min(own_db + take.gain_db - level_db(out), -20 * float(np.log10(loudest + _FLOOR)))
    scaled: np.ndarray = np.clip(out * np.float32(10 ** (gain_db / 20)), -1.0, 1.0)
    return scaled


def shift_sound(waveform_N: np.ndarray, samples: int) -> np.ndarray:
    """Move the sound later (earlier if negative) by whole samples; the length stays, what moves in is silence."""
    shifted = np.zeros_like(waveform_N)
    kept = max(0, len(waveform_N) - abs(samples))
    if samples >= 0:
        shifted[len(waveform_N) - kept :] = waveform_N[:kept]
    else:
        shifted[:kept] = waveform_N[len(waveform_N) - kept :]
    return shifted
