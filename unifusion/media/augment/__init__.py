"""Augmentation of decoded clips: one draw for all frames of a clip, and a function of (seed, sample id, epoch) only.

So a resumed or re-sharded training sees the same clips, whatever the worker. `augmented` changes a clip by choices (`Augmentation`), and
the functions beside it make one change by an amount that is given.
"""

from unifusion.media.augment.choices import Augmentation, augment, augmented, generator, masked
from unifusion.media.augment.features import spec_augment
from unifusion.media.augment.picture import color_jitter, crop_frames, crop_time, permute_frames
from unifusion.media.augment.sound import (
    add_noise,
    change_gain,
    change_pitch,
    change_speed,
    level_db,
    mix_at_snr,
    noise,
    retake,
    shift_sound,
    stretch_time,
    within_scale,
)

__all__ = [
    "Augmentation", "add_noise", "augment", "augmented", "change_gain", "change_pitch", "change_speed", "color_jitter", "crop_frames",
    "crop_time", "generator", "level_db", "masked", "mix_at_snr", "noise", "permute_frames", "retake", "shift_sound", "spec_augment",
    "stretch_time", "within_scale",
]  # fmt: skip
