"""Changes to a clip that keep its truth: light, contrast, blur and noise of the picture, level, noise and band of the sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unifusion.conversation import Clip

__all__ = ["augment_clip"]


def augment_clip(clip: Clip, *, seed: tuple[int, ...], level: bool = True) -> Clip:
    """Return a changed copy; a pure function of the clip and `seed`, the same for all frames of the clip.

    Each change comes in about half of the clips; they stand for what cameras, microphones and codecs do (an AAC or H.264 pass takes
    away fine detail), so that encoders trained on arrays hold on files. The sound's level stays as it is where `level` is false.
    """
    rng = np.random.default_rng(seed)
    frames, sound = clip.frames_THWC, clip.waveform_N
    if frames is not None:
        frames = _picture(frames, rng)
    if sound is not None:
        sound = _sound(sound, clip.sampling_rate_hz, rng, level)
    return replace(clip, frames_THWC=frames, waveform_N=sound)


def _picture(frames_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast, blocks and noise."""
    gain, offset = rng.uniform(0.85, 1.15), rng.uniform(-15.0, 15.0)
    x = frames_THWC.astype(np.float32)
    if rng.random() < 0.5:
        x = (x - 128.0) * gain + 128.0 + offset
    if rng.random() < 0.4:  # a soft picture, as after strong compression
        x = 0.5 * x + 0.125 * (np.roll(x, 1, 1) + np.roll(x, -1, 1) + np.roll(x, 1, 2) + np.roll(x, -1, 2))
    if rng.random() < 0.5:
        x = x + rng.standard_normal(x.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 7.0))
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _sound(waveform_N: np.ndarray, rate_hz: int, rng: np.random.Generator, change_level: bool) -> np.ndarray:
    """Level, white noise at 18 to 45 dB below it, and a low-pass."""
    x = waveform_N.astype(np.float32)
    if rng.random() < 0.3:
        spectrum = np.fft.rfft(x)
        hertz = np.fft.rfftfreq(len(x), 1 / rate_hz)
        cut = rng.uniform(4500.0, 7500.0)
        x = np.fft.irfft(spectrum / (1.0 + (hertz / cut) ** 8), len(x)).astype(np.float32)
    level = float(np.sqrt(np.mean(x**2)))
    if rng.random() < 0.5:
        x = x + rng.standard_normal(len(x), dtype=np.float32) * np.float32(level * 10 ** (-rng.uniform(18.0, 45.0) / 20))
    if change_level:
        x = x * np.float32(10 ** (rng.uniform(-6.0, 4.0) / 20))
    return np.clip(x, -1.0, 1.0)
