"""Augmentation of decoded clips and of texts: one draw for all frames of a clip, and a function of (seed, sample id, epoch) only.

So a resumed or re-sharded training sees the same clips, whatever the worker. `augmented` changes a clip by choices (`Augmentation`),
`augmented_text` a text (`TextAugmentation`), `two_views` gives two copies of either that differ, and the functions beside them make one
change by an amount that is given.
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
from unifusion.media.augment.text import delete_span, drop_words, paraphrase, replace_synonyms
from unifusion.media.augment.views import two_views, view_keys
from unifusion.media.augment.wording import TextAugmentation, augmented_text

__all__ = [
    "Augmentation", "TextAugmentation", "add_noise", "augment", "augmented", "augmented_text", "change_gain", "change_pitch",
    "change_speed", "color_jitter", "crop_frames", "crop_time", "delete_span", "drop_words", "generator", "level_db", "masked",
    "mix_at_snr", "noise", "paraphrase", "permute_frames", "replace_synonyms", "retake", "shift_sound", "spec_augment", "stretch_time",
    "two_views", "view_keys", "within_scale",
]  # fmt: skip
