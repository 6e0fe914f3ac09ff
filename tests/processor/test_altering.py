"""Clips with another's sound or picture, or pictures out of order: what changes, what stays, what cannot be lent."""

from dataclasses import replace

import numpy as np
import pytest

from unifusion.conversation import Altered, Clip, Media
from unifusion.errors import MediaError
from unifusion.features.keys import media_key
from unifusion.limits import Limits
from unifusion.processor.opening import decode


def made(shade, *, seconds=2.0, sound=True, picture=True):
    frames = np.arange(int(4 * seconds), dtype=np.uint8)[:, None, None, None] + np.full((1, 4, 4, 3), shade, np.uint8)
    return Clip(
        frames_THWC=frames if picture else None, frame_times_s=np.arange(len(frames)) / 4 if picture else None,
        waveform_N=np.full(int(8000 * seconds), shade / 100, np.float32) if sound else None, sampling_rate_hz=8000, duration_s=seconds,
    )  # fmt: skip


def media(*args, **kwargs):
    return Media(kind="video", source=made(*args, **kwargs))


def opened(media, *, rate_hz=4.0, audio=True):
    return decode(media, rate_hz=rate_hz, audio=audio, max_seconds=60.0, limits=Limits())[0]


def altered(base, **how):
    return Media(kind="video", source=Altered(base=base, **how))


def test_another_sound_is_cut_to_the_clips_length():
    clip = opened(altered(media(10), sound=media(50, seconds=5.0)))
    assert clip.duration_s == 2.0 and len(clip.waveform_N) == 16000 and clip.waveform_N[0] == pytest.approx(0.5)
    assert clip.frames_THWC[0, 0, 0, 0] == 10 and "altered on purpose" in clip.notes[-1]


def test_a_shorter_sound_ends_early_and_the_clip_does_not():
    clip = opened(altered(media(10), sound=media(50, seconds=0.5)))
    assert clip.duration_s == 2.0 and len(clip.waveform_N) == 4000


def test_another_picture():
    clip = opened(altered(media(10, seconds=1.0), picture=media(60, seconds=3.0)))
    assert clip.frames_THWC[:, 0, 0, 0].tolist() == [60, 61, 62, 63] and clip.frame_times_s.max() < 1.0
    assert clip.waveform_N[0] == pytest.approx(0.1) and clip.duration_s == 1.0


def test_both():
    clip = opened(altered(media(10), picture=media(60), sound=media(50)))
    assert clip.frames_THWC[0, 0, 0, 0] == 60 and clip.waveform_N[0] == pytest.approx(0.5)


def test_pictures_out_of_order_are_the_same_pictures_at_the_same_times():
    plain, mixed = opened(media(10)), opened(altered(media(10), shuffle=3))
    assert sorted(mixed.frames_THWC[:, 0, 0, 0]) == sorted(plain.frames_THWC[:, 0, 0, 0])
    assert mixed.frames_THWC[:, 0, 0, 0].tolist() != plain.frames_THWC[:, 0, 0, 0].tolist()
    assert np.array_equal(mixed.frame_times_s, plain.frame_times_s) and np.array_equal(mixed.waveform_N, plain.waveform_N)
    assert np.array_equal(mixed.frames_THWC, opened(altered(media(10), shuffle=3)).frames_THWC)


def test_two_pictures_are_always_the_other_way_round():
    pair = Clip(frames_THWC=np.arange(2, dtype=np.uint8).reshape(2, 1, 1, 1).repeat(3, 3), frame_times_s=np.arange(2) / 4, duration_s=0.5)
    clips = [opened(altered(Media(kind="video", source=pair), shuffle=seed)) for seed in range(20)]
    assert all(clip.frames_THWC[:, 0, 0, 0].tolist() == [1, 0] for clip in clips)


@pytest.mark.parametrize(("how", "lender"), [("sound", media(50, sound=False)), ("picture", media(50, picture=False))])
def test_what_is_not_there_cannot_be_lent(how, lender):
    with pytest.raises(MediaError, match=f"has no {how}"):
        opened(altered(media(10), **{how: lender}))


def test_what_is_not_wanted_is_not_lent():
    clip = opened(altered(media(10), picture=media(50, picture=False)), rate_hz=None)
    assert clip.waveform_N[0] == pytest.approx(0.1)


def test_a_clip_of_clip_world_and_a_file_lend_too(tmp_path):
    world = Media(kind="video", source="clip-world://0/1?split=train&size=32&duration=2")
    clip = opened(altered(world, sound=media(50)))
    assert clip.duration_s == 2.0 and clip.waveform_N[0] == pytest.approx(0.5)
    assert "clip-world" in altered(world, sound=media(50)).name


def test_features_of_altered_clips_have_keys_of_their_own():
    base, lender = media(10), media(50)
    kinds = [
        base,
        altered(base),
        altered(base, sound=lender),
        altered(base, picture=lender),
        altered(base, shuffle=1),
        altered(base, shuffle=2),
    ]
    keys = [media_key(m) for m in kinds]
    assert len(set(keys)) == len(keys)
    assert media_key(altered(base, sound=lender)) == media_key(altered(replace(base), sound=replace(lender)))
