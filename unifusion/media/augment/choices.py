"""How far clips and features may be changed, and the change of one clip: a function of its key alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from unifusion.conversation import Clip
from unifusion.errors import ConfigError, nearest
from unifusion.media.augment.features import spec_augment
from unifusion.media.augment.picture import color_jitter, crop_frames, crop_time, permute_frames
from unifusion.media.augment.sound import (
    change_gain,
    change_pitch,
    change_speed,
    mix_at_snr,
    noise,
    shift_sound,
    stretch_time,
    within_scale,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Augmentation", "augment", "augmented", "drawn", "generator", "masked"]

_KINDS = ("white", "pink", "other")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far a clip may be changed; the defaults change nothing. A range is (lowest, highest), drawn evenly between.

    Of a clip of 5 s at 25 frames of 224 x 224 pixels and 16 kHz, `augmented` takes the milliseconds that stand at each choice, on one core.
    """

    crop: float = 1.0
    """Smallest part of height and of width that a random crop keeps, in (0, 1]. 9 ms."""
    aspect: float = 1.0
    """Largest factor by which the crop is wider or narrower than the picture; 1.33 for random resized crops as usual. 9 ms."""
    flip: float = 0.0
    """Probability of a left-right mirror. Leave at 0 where left and right matter (text, "the left one"). 36 ms."""
    jitter: float = 0.0
    """Brightness, contrast and saturation are each scaled by a factor in [1 - jitter, 1 + jitter]. 37 ms."""
    hue: float = 0.0
    """Colours turn by up to this part of the circle of hues. Leave at 0 where colours are asked about. 37 ms."""
    gray: float = 0.0
    """Probability that the picture loses its colours. Leave at 0 where colours are asked about. 37 ms."""
    keep_time: float = 1.0
    """Smallest part of the clip's length that a random crop in time keeps, picture and sound alike, in (0, 1]. 2 ms."""
    permute: float = 0.0
    """Probability that the frames are put in random order (a negative for order-sensitive training); their times stay ascending. 3 ms."""
    permute_window: int = 0
    """Frames within which the order changes; 0 for the whole clip."""
    tempo: tuple[float, float] | None = None
    """Speed at the same pitch, of sound and picture alike: times and duration are divided by it. 12 ms."""
    tempo_p: float = 1.0
    """Probability of it."""
    speed: tuple[float, float] | None = None
    """Speed with the pitch, of sound and picture alike. 2 ms."""
    speed_p: float = 1.0
    """Probability of it."""
    pitch: float = 0.0
    """The sound is raised or lowered by up to so many semitones. 15 ms."""
    pitch_p: float = 1.0
    """Probability of it."""
    gain_db: float = 0.0
    """The sound is made louder or softer by up to this. 0.1 ms."""
    noise_snr_db: tuple[float, float] | None = None
    """Noise is added at a signal-to-noise ratio drawn from this range. White 1 ms, pink 4 ms, other 0.4 ms."""
    noise_kinds: tuple[str, ...] = ("white",)
    """Which noise, one of them drawn: `white`, `pink`, or `other`, a sound of those that `augmented` is given."""
    noise_p: float = 1.0
    """Probability of it."""
    shift_s: float = 0.0
    """The sound is moved against the picture by up to this; what moves in is silence. 0.1 ms."""
    time_masks: int = 0
    """Runs of an encoder's tokens that `masked` hides (SpecAugment)."""
    time_width: float = 0.1
    """Largest width of one, as a part of the tokens."""
    feature_masks: int = 0
    """Bands of features that `masked` hides."""
    feature_width: float = 0.1
    """Largest width of one, as a part of the features."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("crop", "keep_time"):
            self._hold(name, 0 < getattr(self, name) <= 1, "a part in (0, 1]")
        for name in ("flip", "permute", "jitter", "gray", "tempo_p", "speed_p", "pitch_p", "noise_p", "time_width", "feature_width"):
            self._hold(name, 0 <= getattr(self, name) <= 1, "a number in [0, 1]")
        for name in ("gain_db", "shift_s", "permute_window", "time_masks", "feature_masks"):
            self._hold(name, getattr(self, name) >= 0, "0 or more")
        self._hold("hue", 0 <= self.hue <= 0.5, "a part of the circle from 0 to 0.5")
        self._hold("aspect", 1 <= self.aspect <= 4, "a factor from 1 to 4")
        self._hold("pitch", 0 <= self.pitch <= 24, "semitones from 0 to 24")
        for name in ("tempo", "speed", "noise_snr_db"):
            low, high = getattr(self, name) or (1.0, 1.0)
            self._hold(name, low <= high, "(lowest, highest)")
            self._hold(name, name == "noise_snr_db" or 0.25 <= low <= high <= 4, "speeds from 0.25 to 4")
        unknown = [k for k in self.noise_kinds if k not in _KINDS]
        self._hold("noise_kinds", not unknown and bool(self.noise_kinds), f"some of {', '.join(_KINDS)}")

    def _hold(self, name: str, holds: bool, wanted: str) -> None:
        """Refuse one value."""
        if not holds:
            raise ConfigError(f"augmentation {name}={getattr(self, name)!r};", remedy=f"give {wanted}.")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read choices as a YAML or JSON file has them.

        Raises:
            ConfigError: an unknown key, with the nearest match, or a value that cannot be meant.
        """
        known = {f.name: f.default for f in fields(cls)}
        for key, value in raw.items():
            if key not in known:
                raise ConfigError(f"augmentation has no choice {key!r};", remedy=nearest(key, list(known)))
            if not _fits(value, known[key], key):
                raise ConfigError(f"augmentation {key}={value!r};", remedy=f"give it as the default is given: {known[key]!r}, or a range.")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
        return cls(**values)


def _fits(value: object, default: object, key: str) -> bool:
    """Whether a value read from a file is of a choice's kind; a word that stands for a number is not."""
    if key == "noise_kinds":
        return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    if default is None:
        return value is None or (isinstance(value, list | tuple) and len(value) == 2 and all(map(_number, value)))
    return _number(value) and (isinstance(default, float) or isinstance(value, int))


def _number(value: object) -> bool:
    """Whether it is a number; true and false are none here."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def generator(seed: int, sample_id: str, epoch: int, purpose: str = "") -> np.random.Generator:
    """Return the random generator of one sample in one epoch, one for each purpose."""
    return drawn(f"{seed}\0{epoch}\0{sample_id}", purpose)


def drawn(key: str, purpose: str) -> np.random.Generator:
    """Return the generator of a key for one purpose, so that switching one change on does not alter the others."""
    digest = hashlib.blake2b(f"{key}\0{purpose}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def augment(clip: Clip, how: Augmentation, *, seed: int, sample_id: str, epoch: int) -> Clip:
    """`augmented` with the three parts of the key given apart."""
    return augmented(clip, how, key=f"{seed}/{sample_id}/{epoch}")


def augmented(clip: Clip, choices: Augmentation, *, key: str, others: Sequence[np.ndarray] = ()) -> Clip:
    """Return a changed copy of a clip; the given one is left alone.

    Order: crop in time, tempo and speed (picture's times with the sound's), picture, pitch, gain, shift, noise. A sound that would leave
    [-1, 1] is made softer as a whole.

    Args:
        clip: what decoding gave.
        choices: how far it may be changed.
        key: "seed/id/epoch"; equal keys are equal draws.
        others: sounds (N,) at the clip's rate for the noise of kind `other`, cut or repeated to the clip's length.

    Raises:
        ConfigError: noise of kind `other` alone is wanted and none is given.
    """
    if choices.keep_time < 1:
        part, where = drawn(key, "time").random(2).tolist()
        clip = crop_time(clip, choices.keep_time + (1 - choices.keep_time) * part, where)
    for name, change in (("tempo", stretch_time), ("speed", change_speed)):
        limits, (happens, where) = getattr(choices, name), drawn(key, name).random(2).tolist()
        if limits is not None and happens < getattr(choices, f"{name}_p"):
            factor = limits[0] + (limits[1] - limits[0]) * where
            heard = None if clip.waveform_N is None else change(clip.waveform_N, clip.sampling_rate_hz, factor)
            clip = _quicker(replace(clip, waveform_N=heard), factor)
    if clip.frames_THWC is not None:
        clip = replace(clip, frames_THWC=_picture(clip.frames_THWC, choices, key))
    if clip.waveform_N is not None:
        clip = replace(clip, waveform_N=_sound(clip.waveform_N, clip.sampling_rate_hz, choices, key, others))
    return clip


def _quicker(clip: Clip, factor: float) -> Clip:
    """The clip's times at another speed."""
    times = None if clip.frame_times_s is None else clip.frame_times_s / factor
    return replace(clip, frame_times_s=times, waveform_start_s=clip.waveform_start_s / factor, duration_s=clip.duration_s / factor)


def _picture(frames_THWC: np.ndarray, choices: Augmentation, key: str) -> np.ndarray:
    """Crop, mirror, light and order."""
    if choices.crop < 1 or choices.aspect > 1:
        part, y, x, aspect = drawn(key, "crop").random(4).tolist()
        wider = choices.aspect ** (2 * aspect - 1)
        frames_THWC = crop_frames(frames_THWC, choices.crop + (1 - choices.crop) * part, y, x, aspect=wider)
    if drawn(key, "flip").random() < choices.flip:
        frames_THWC = np.take(frames_THWC, np.arange(frames_THWC.shape[2])[::-1], axis=2)  # twice as fast as copying a reversed view
    gray = choices.gray > 0 and drawn(key, "gray").random() < choices.gray
    if choices.jitter or choices.hue or gray:
        brightness, contrast, saturation = (1 + choices.jitter * (2 * drawn(key, "jitter").random(3) - 1)).tolist()
        hue = choices.hue * (2 * drawn(key, "hue").random() - 1)
        frames_THWC = color_jitter(frames_THWC, brightness, contrast, 0.0 if gray else saturation, hue)
    if drawn(key, "permute").random() < choices.permute:
        frames_THWC = permute_frames(frames_THWC, drawn(key, "order"), window=choices.permute_window)
    return np.ascontiguousarray(frames_THWC)


def _sound(
    waveform_N: np.ndarray, rate_hz: int, choices: Augmentation, key: str, others: Sequence[np.ndarray]
) -> np.ndarray:  # fmt: skip
    """Pitch, gain, shift, noise."""
    happens, much = drawn(key, "pitch").random(2).tolist()
    if choices.pitch and happens < choices.pitch_p:
        waveform_N = change_pitch(waveform_N, rate_hz, choices.pitch * (2 * much - 1))
    if choices.gain_db:
        waveform_N = change_gain(waveform_N, choices.gain_db * (2 * drawn(key, "gain").random() - 1))
    if choices.shift_s:
        waveform_N = shift_sound(waveform_N, round(choices.shift_s * (2 * drawn(key, "shift").random() - 1) * rate_hz))
    happens, snr, kind = drawn(key, "noise").random(3).tolist()
    if choices.noise_snr_db is not None and happens < choices.noise_p:
        low, high = choices.noise_snr_db
        chosen = choices.noise_kinds[int(kind * len(choices.noise_kinds))]
        noise_N = _noise(len(waveform_N), rate_hz, chosen, drawn(key, "samples"), others)
        waveform_N = mix_at_snr(waveform_N, noise_N, low + (high - low) * snr)
    return within_scale(waveform_N)


def _noise(count: int, rate_hz: int, kind: str, rng: np.random.Generator, others: Sequence[np.ndarray]) -> np.ndarray:
    """Noise of one kind; another sound begins anywhere and is repeated where it ends."""
    if kind != "other":
        return noise(count, rng, color="pink" if kind == "pink" else "white", rate_hz=rate_hz)
    if not others:
        raise ConfigError("noise of kind 'other' and no other sound;", remedy="give `others`, or take white and pink.")
    sound_N = others[int(rng.integers(len(others)))]
    return np.resize(np.roll(sound_N, -int(rng.integers(len(sound_N)))), count).astype(np.float32)


def masked(tokens_BSD: Tensor, mask_BS: Tensor, choices: Augmentation, *, keys: Sequence[str]) -> Tensor:
    """Return an encoder's tokens (B, S, D) with SpecAugment's masks (zeros) over the real ones of each row, drawn by its key."""
    if not choices.time_masks and not choices.feature_masks:
        return tokens_BSD
    out_BSD = tokens_BSD.clone()
    for row, key in enumerate(keys):
        real_S = mask_BS[row]
        out_BSD[row, real_S] = spec_augment(
            tokens_BSD[row, real_S], drawn(key, "masks"), time_masks=choices.time_masks, time_width=choices.time_width,
            feature_masks=choices.feature_masks, feature_width=choices.feature_width,
        )  # fmt: skip
    return out_BSD
