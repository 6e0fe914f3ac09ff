"""Augmentation of decoded clips: the same change for all frames of a clip, and a function of (seed, sample id, epoch) only.

So a resumed or re-sharded training sees the same pictures, whatever the worker. NumPy only; sizes change by cropping alone,
since the encoder's own preprocessing resizes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from unifusion.conversation import Clip, Take
from unifusion.errors import ConfigError

__all__ = ["Augmentation", "augment", "color_jitter", "generator", "level_db", "mix_at_snr", "permute_frames", "retake", "shift_sound"]

_FLOOR = 1e-5
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a clip may be changed; the defaults change nothing."""

    crop: float = 1.0
    """Smallest part of height and of width that a random crop keeps, in (0, 1]."""
    flip: float = 0.0
    """Probability of a left-right mirror. Leave at 0 where left and right matter (text, "the left one")."""
    jitter: float = 0.0
    """Brightness, contrast and saturation are each scaled by a factor in [1 - jitter, 1 + jitter]."""
    keep_time: float = 1.0
    """Smallest part of the clip's length that a random crop in time keeps, picture and sound alike, in (0, 1]."""
    permute: float = 0.0
    """Probability that the frames are put in random order (a negative for order-sensitive training); their times stay ascending."""
    gain_db: float = 0.0
    """The sound is made louder or softer by up to this."""
    noise_snr_db: tuple[float, float] | None = None
    """White noise is added at a signal-to-noise ratio drawn from this range."""
    shift_s: float = 0.0
    """The sound is moved against the picture by up to this; what moves in is silence."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("crop", "keep_time"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"augmentation {name}={getattr(self, name)!r};", remedy="give a part in (0, 1].")
        for name in ("flip", "permute", "jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augmentation {name}={getattr(self, name)!r};", remedy="give a number in [0, 1].")
        if self.gain_db < 0 or self.shift_s < 0:
            raise ConfigError(f"augmentation gain_db={self.gain_db}, shift_s={self.shift_s};", remedy="give 0 or more.")


def generator(seed: int, sample_id: str, epoch: int, purpose: str = "") -> np.random.Generator:
    """Return the random generator of one sample in one epoch, one for each purpose."""
    digest = hashlib.blake2b(f"{seed}\0{epoch}\0{sample_id}\0{purpose}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def augment(clip: Clip, how: Augmentation, *, seed: int, sample_id: str, epoch: int) -> Clip:
    """Return a changed copy of a clip; the given one is left alone.

    Every draw is made whether it is used or not, so switching one change on does not alter the others.
    """
    draws = generator(seed, sample_id, epoch).random(10)
    if how.keep_time < 1:
        clip = _crop_time(clip, how.keep_time + (1 - how.keep_time) * draws[0], draws[1])
    if clip.frames_THWC is not None:
        frames_THWC = clip.frames_THWC
        if how.crop < 1:
            frames_THWC = _crop(frames_THWC, how.crop + (1 - how.crop) * draws[2], draws[3], draws[4])
        if draws[5] < how.flip:
            frames_THWC = frames_THWC[:, :, ::-1]
        if how.jitter:
            frames_THWC = color_jitter(frames_THWC, *(1 + how.jitter * (2 * draws[6:9] - 1)).tolist())
        if draws[9] < how.permute:
            frames_THWC = permute_frames(frames_THWC, generator(seed, sample_id, epoch, "order"))
        clip = replace(clip, frames_THWC=np.ascontiguousarray(frames_THWC))
    if clip.waveform_N is not None:
        clip = replace(
            clip, waveform_N=_augment_sound(clip.waveform_N, clip.sampling_rate_hz, how, generator(seed, sample_id, epoch, "sound"))
        )
    return clip


def color_jitter(frames_THWC: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Scale brightness, contrast (around the clip's mean luma) and saturation, the same for all frames; uint8 in and out."""
    pixels: np.ndarray = frames_THWC.astype(np.float32) * brightness
    mean = float((pixels @ _LUMA).mean())
    pixels = (pixels - mean) * contrast + mean
    luma = (pixels @ _LUMA)[..., None]
    pixels = (pixels - luma) * saturation + luma + 0.5
    return pixels.clip(0, 255).astype(np.uint8)


def permute_frames(frames_THWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the frames in an order that is never the given one (where there are two or more)."""
    count = len(frames_THWC)
    if count < 2:
        return frames_THWC
    order = rng.permutation(count)
    if (order == np.arange(count)).all():
        order = np.roll(order, 1)
    shuffled: np.ndarray = frames_THWC[order]
    return shuffled


def mix_at_snr(waveform_N: np.ndarray, noise_N: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise so that signal power over noise power is `snr_db`; a silent signal or noise is returned unchanged."""
    signal, noise = float(np.mean(waveform_N**2)), float(np.mean(noise_N**2))
    if signal == 0.0 or noise == 0.0:
        return waveform_N
    scale = np.sqrt(signal / noise / 10 ** (snr_db / 10))
    mixed: np.ndarray = waveform_N + scale * noise_N
    return mixed.astype(np.float32)


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


def _crop(frames_THWC: np.ndarray, part: float, y: float, x: float) -> np.ndarray:
    """Keep a window of `part` of height and width at (y, x) of the free room."""
    height, width = frames_THWC.shape[1:3]
    h, w = max(1, round(height * part)), max(1, round(width * part))
    top, left = int(y * (height - h + 1)), int(x * (width - w + 1))
    return frames_THWC[:, top : top + h, left : left + w]


def _crop_time(clip: Clip, part: float, where: float) -> Clip:
    """Keep `part` of the clip's length, beginning at `where` of the free room; times count from the new start."""
    length = clip.duration_s * part
    start = where * (clip.duration_s - length)
    changes: dict[str, object] = {"duration_s": length, "start_s": clip.start_s + start}
    if clip.frames_THWC is not None and clip.frame_times_s is not None and len(clip.frame_times_s):
        inside = (clip.frame_times_s >= start) & (clip.frame_times_s < start + length)
        if not inside.any():  # the frame on screen when the crop begins
            inside[max(0, int(np.searchsorted(clip.frame_times_s, start, side="right")) - 1)] = True
        changes |= {"frames_THWC": clip.frames_THWC[inside], "frame_times_s": (clip.frame_times_s[inside] - start).clip(min=0.0)}
        if clip.corrupt_T is not None:
            changes["corrupt_T"] = clip.corrupt_T[inside]
    if clip.waveform_N is not None:
        first = max(0, round((start - clip.waveform_start_s) * clip.sampling_rate_hz))
        last = max(0, round((start + length - clip.waveform_start_s) * clip.sampling_rate_hz))
        cut_N = clip.waveform_N[first:last]
        changes["waveform_N"] = cut_N if len(cut_N) else None
        changes["waveform_start_s"] = max(0.0, clip.waveform_start_s - start) if len(cut_N) else 0.0
    return replace(clip, **changes)  # type: ignore[arg-type]


def _augment_sound(waveform_N: np.ndarray, rate_hz: int, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Gain, shift, noise; bounded to [-1, 1]."""
    gain, snr, move = rng.random(3)
    if how.gain_db:
        waveform_N = waveform_N * np.float32(10 ** (how.gain_db * (2 * gain - 1) / 20))
    if how.shift_s:
        waveform_N = shift_sound(waveform_N, round(how.shift_s * (2 * move - 1) * rate_hz))
    if how.noise_snr_db is not None:
        low, high = how.noise_snr_db
        waveform_N = mix_at_snr(waveform_N, rng.standard_normal(len(waveform_N), dtype=np.float32), low + (high - low) * snr)
    return waveform_N.clip(-1.0, 1.0).astype(np.float32)
