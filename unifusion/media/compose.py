"""Clips put together: a still that is moved like a hand-held shot, a voice, a sound behind it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from unifusion.conversation import Clip
from unifusion.media.augment import mix_at_snr

__all__ = ["compose"]

_ZOOM, _SHIFT, _LIGHT, _GRAIN = 0.12, 0.05, 0.12, 4.0
"""Most that a clip is zoomed into, moved (parts of its width), lightened or darkened (parts of full), and the grain (grey levels)."""


def compose(
    still_HWC: np.ndarray | None, voice_N: np.ndarray | None, background_N: np.ndarray | None = None, *, snr_db: float = 10.0,
    duration_s: float, rate_hz: float = 8.0, size_px: int = 112, rate_audio_hz: int = 16_000, seed: int = 0,
) -> Clip:  # fmt: skip
    """Return a clip of `duration_s` seconds: a pure function of its arguments.

    Args:
        still_HWC: uint8 RGB; becomes frames of size_px x size_px with a slow zoom, shift, change of light, and grain.
        voice_N: float32 mono; padded with silence or cut at the end.
        background_N: repeated or cut to the clip's length; with a voice, at `snr_db` below it.
        snr_db: power of the voice over that of the background.
        duration_s: length of the clip.
        rate_hz: frames a second.
        size_px: width and height.
        rate_audio_hz: of both sounds.
        seed: of motion, light and grain.
    """
    rng = np.random.default_rng(seed)
    times_T = np.arange(0.0, duration_s - 1e-6, 1.0 / rate_hz)
    frames = None if still_HWC is None else _moved(still_HWC, times_T / duration_s, size_px, rng)
    length = round(duration_s * rate_audio_hz)
    sound = None if voice_N is None else np.pad(voice_N[:length], (0, max(0, length - len(voice_N)))).astype(np.float32)
    if background_N is not None and len(background_N):
        behind = np.resize(background_N, length).astype(np.float32)
        sound = behind if sound is None else mix_at_snr(sound, behind, snr_db)
    if sound is not None:
        sound = sound / max(1.0, float(np.abs(sound).max(initial=0.0)))
    return Clip(
        frames_THWC=frames, frame_times_s=None if frames is None else times_T, waveform_N=sound, sampling_rate_hz=rate_audio_hz,
        duration_s=duration_s,
    )  # fmt: skip


def _moved(still_HWC: np.ndarray, part_T: np.ndarray, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """The still at each part of the clip, from one random view of it to another (T, size, size, 3)."""
    image = Image.fromarray(still_HWC)
    zoom, across, down = (rng.uniform(low, high, 2) for low, high in ((0, _ZOOM), (-_SHIFT, _SHIFT), (-_SHIFT, _SHIFT)))
    light = rng.uniform(-_LIGHT, _LIGHT, 2)
    frames = []
    for part in part_T:
        z, x, y, level = (a + part * (b - a) for a, b in (zoom, across, down, light))
        width, height = image.width * (1 - z), image.height * (1 - z)
        left = min(max((image.width - width) / 2 + x * image.width, 0.0), image.width - width)
        top = min(max((image.height - height) / 2 + y * image.height, 0.0), image.height - height)
        view = image.resize((size_px, size_px), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
        grain = rng.normal(0.0, rng.uniform(0.0, _GRAIN), (size_px, size_px, 1))
        frames.append(np.clip(np.asarray(view, np.float32) + 255 * level + grain, 0, 255).round().astype(np.uint8))
    return np.stack(frames)
