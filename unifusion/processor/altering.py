"""Clips that are tampered with: another's sound or picture, pictures out of order."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from unifusion.conversation import Altered, Clip, Media
from unifusion.errors import MediaError

__all__ = ["altered"]

_EPSILON_S = 1e-6
_REMEDY = "choose a clip that has one to lend."


class Reader(Protocol):
    """Decodes what is wanted of a clip."""

    def __call__(self, one: Media, *, picture: bool, sound: bool) -> Clip:
        """The clip with its pictures, its sound, both, or its length alone."""


def altered(what: Altered, read: Reader, *, picture: bool, sound: bool) -> Clip:
    """Return the clip with what it is lent, cut to its own length; what is lent and shorter ends early.

    Args:
        what: the clip, and what is done to it.
        read: decodes one clip.
        picture: whether pictures are wanted.
        sound: whether sound is wanted.

    Raises:
        MediaError: a clip cannot be decoded, or lacks what it is to lend.
    """
    clip = read(what.base, picture=picture and what.picture is None, sound=sound and what.sound is None)
    if picture and what.picture is not None:
        clip = _with_picture(clip, read(what.picture, picture=True, sound=False), what.picture.name)
    if sound and what.sound is not None:
        clip = _with_sound(clip, read(what.sound, picture=False, sound=True), what.sound.name)
    if what.shuffle is not None and clip.frames_THWC is not None:
        order_T = _disorder(len(clip.frames_THWC), what.shuffle)
        corrupt_T = None if clip.corrupt_T is None else clip.corrupt_T[order_T]
        clip = replace(clip, frames_THWC=clip.frames_THWC[order_T], corrupt_T=corrupt_T)
    return replace(clip, notes=(*clip.notes, f"altered on purpose: {what.how}"))


def _disorder(count: int, seed: int) -> np.ndarray:
    """An order of so many pictures that is not their own, where there are two or more."""
    rng = np.random.default_rng(seed)
    order_T = rng.permutation(count)
    while count > 1 and np.array_equal(order_T, np.arange(count)):
        order_T = rng.permutation(count)
    return order_T


def _with_picture(clip: Clip, lender: Clip, name: str) -> Clip:
    """The clip with another's pictures."""
    if lender.frames_THWC is None or lender.frame_times_s is None or not len(lender.frames_THWC):
        raise MediaError(f"{name} has no picture;", remedy=_REMEDY)
    kept_T = np.asarray(lender.frame_times_s) < max(clip.duration_s, _EPSILON_S) - _EPSILON_S
    kept_T[0] = True
    corrupt_T = None if lender.corrupt_T is None else lender.corrupt_T[kept_T]
    return replace(clip, frames_THWC=lender.frames_THWC[kept_T], frame_times_s=lender.frame_times_s[kept_T], corrupt_T=corrupt_T)


def _with_sound(clip: Clip, lender: Clip, name: str) -> Clip:
    """The clip with another's sound."""
    if lender.waveform_N is None or not len(lender.waveform_N):
        raise MediaError(f"{name} has no sound;", remedy=_REMEDY)
    length = max(1, round((clip.duration_s - lender.waveform_start_s) * lender.sampling_rate_hz))
    heard = {"waveform_N": lender.waveform_N[:length], "sampling_rate_hz": lender.sampling_rate_hz}
    return replace(clip, **heard, waveform_start_s=lender.waveform_start_s)  # type: ignore[arg-type]
