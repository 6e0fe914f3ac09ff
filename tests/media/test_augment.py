"""Augmentation: the same for a whole clip, the same for the same (seed, sample, epoch)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.media.clips import barcode, number_of, tone
from unifusion.conversation import Clip, Take
from unifusion.errors import ConfigError
from unifusion.media.augment import Augmentation, augment, color_jitter, level_db, mix_at_snr, permute_frames, retake, shift_sound

ALL = Augmentation(crop=0.6, flip=0.5, jitter=0.3, keep_time=0.5, permute=0.5, gain_db=6, noise_snr_db=(5, 20), shift_s=0.1)


def clip():
    frames = np.stack([barcode(n) for n in range(10)])
    return Clip(
        frames_THWC=frames, frame_times_s=np.arange(10) / 5, corrupt_T=np.zeros(10, bool), waveform_N=tone(2.0, 16_000), duration_s=2.0
    )


def test_the_defaults_change_nothing():
    new = augment(clip(), Augmentation(), seed=1, sample_id="a", epoch=0)
    assert (new.frames_THWC == clip().frames_THWC).all()
    assert (new.waveform_N == clip().waveform_N).all()
    assert (new.frame_times_s == clip().frame_times_s).all()


def test_a_function_of_seed_sample_and_epoch_alone():
    first = augment(clip(), ALL, seed=1, sample_id="a", epoch=3)
    again = augment(clip(), ALL, seed=1, sample_id="a", epoch=3)
    assert np.array_equal(first.frames_THWC, again.frames_THWC)
    assert np.array_equal(first.waveform_N, again.waveform_N)
    others = [augment(clip(), ALL, seed=s, sample_id=i, epoch=e) for s, i, e in ((2, "a", 3), (1, "b", 3), (1, "a", 4))]
    assert all(not np.array_equal(first.waveform_N, other.waveform_N) for other in others)


def test_switching_one_change_on_leaves_the_others_as_they_were():
    some = augment(clip(), Augmentation(crop=0.6), seed=4, sample_id="a", epoch=0)
    more = augment(clip(), Augmentation(crop=0.6, gain_db=6, permute=1.0, noise_snr_db=(0, 9)), seed=4, sample_id="a", epoch=0)
    assert some.frames_THWC.shape == more.frames_THWC.shape
    assert sorted(f.tobytes() for f in some.frames_THWC) == sorted(f.tobytes() for f in more.frames_THWC)


def test_the_given_clip_is_left_alone():
    mine = clip()
    augment(mine, ALL, seed=0, sample_id="a", epoch=0)
    assert (mine.frames_THWC == clip().frames_THWC).all()
    assert (mine.waveform_N == clip().waveform_N).all()


def test_crop_flip_and_jitter_are_the_same_for_all_frames():
    still = Clip(frames_THWC=np.repeat(barcode(77)[None], 6, 0), frame_times_s=np.arange(6.0), duration_s=6.0)
    for epoch in range(8):
        new = augment(still, Augmentation(crop=0.5, flip=0.5, jitter=0.4), seed=0, sample_id="a", epoch=epoch)
        assert (new.frames_THWC == new.frames_THWC[:1]).all()


def test_flip_mirrors_left_and_right():
    new = augment(clip(), Augmentation(flip=1.0), seed=0, sample_id="a", epoch=0)
    assert (new.frames_THWC == clip().frames_THWC[:, :, ::-1]).all()


def test_crop_in_time_keeps_picture_and_sound_in_step():
    for epoch in range(20):
        new = augment(clip(), Augmentation(keep_time=0.3), seed=0, sample_id="a", epoch=epoch)
        start = new.start_s
        assert new.duration_s >= 0.6 - 1e-9
        assert [number_of(f) / 5 - start for f in new.frames_THWC] == pytest.approx(new.frame_times_s.tolist())
        first = round(start * 16_000)
        assert np.array_equal(new.waveform_N, clip().waveform_N[first : first + len(new.waveform_N)])
        assert len(new.waveform_N) == pytest.approx(new.duration_s * 16_000, abs=1)


def test_crop_in_time_of_late_sound_and_of_a_clip_without_streams():
    late = Clip(waveform_N=tone(0.5, 16_000), waveform_start_s=1.5, duration_s=2.0)
    for epoch in range(20):
        new = augment(late, Augmentation(keep_time=0.2), seed=0, sample_id="a", epoch=epoch)
        if new.waveform_N is None:
            assert new.start_s + new.duration_s <= 1.5 + 1e-4
        else:
            assert new.start_s + new.waveform_start_s >= 1.5 - 1e-4
    assert augment(Clip(duration_s=1.0), ALL, seed=0, sample_id="a", epoch=0).waveform_N is None


def test_permuting_never_keeps_the_order_and_loses_no_frame():
    for seed in range(30):
        frames = np.arange(3)[:, None]
        new = permute_frames(frames, np.random.default_rng(seed))
        assert sorted(new[:, 0]) == [0, 1, 2]
        assert new[:, 0].tolist() != [0, 1, 2]
    assert permute_frames(np.zeros((1, 2)), np.random.default_rng(0)).shape == (1, 2)


@given(snr=st.floats(-10, 40), level=st.floats(0.01, 1.0))
def test_noise_has_the_power_asked_for(snr, level):
    rng = np.random.default_rng(0)
    signal, noise = (level * tone(0.5, 16_000)).astype(np.float32), rng.standard_normal(8_000, dtype=np.float32)
    added = mix_at_snr(signal, noise, snr) - signal
    assert 10 * np.log10(np.mean(signal**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.1)


@given(speed=st.floats(0.8, 1.25), gain=st.floats(-20, 6), tilt=st.floats(-3, 3), bump=st.floats(-8, 8))
def test_another_take_has_the_speed_and_the_level_asked_for(speed, gain, tilt, bump):
    signal = (0.1 * np.sin(2 * np.pi * 440.0 * np.arange(8_000) / 16_000)).astype(np.float32)
    found = retake(signal, 16_000, Take(speed=speed, gain_db=gain, tilt_db=tilt, bump_db=bump, bump_octave=1.0))
    assert len(found) == pytest.approx(len(signal) / speed, abs=2)
    assert level_db(found) - level_db(signal) == pytest.approx(gain, abs=0.3)
    assert np.abs(np.fft.rfft(found)).argmax() == 220  # cycles, in a shorter time


def test_another_take_colours_the_sound_and_cuts_nothing_off():
    low, high = (np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000) for hz in (500.0, 2000.0))
    tilted = np.abs(np.fft.rfft(retake(0.1 * (low + high), 16_000, Take(tilt_db=3.0))))
    assert 20 * np.log10(tilted[2000] / tilted[500]) == pytest.approx(6.0, abs=0.1)  # two octaves
    bumped = np.abs(np.fft.rfft(retake(0.1 * (low + high), 16_000, Take(bump_db=8.0, bump_octave=1.0))))
    assert 20 * np.log10(bumped[2000] / bumped[500]) == pytest.approx(8.0 * (1 - np.exp(-4.0)), abs=0.1)
    loud = retake((0.5 * low).astype(np.float32), 16_000, Take(gain_db=20.0))
    assert 0.99 < np.abs(loud).max() <= 1.0
    assert not retake(np.zeros(1000, np.float32), 16_000, Take(speed=1.1, tilt_db=2.0)).any()
    signal = (0.1 * low).astype(np.float32)
    np.testing.assert_allclose(retake(signal, 16_000, Take()), signal, atol=1e-6)


def test_noise_on_silence_stays_silence():
    assert not mix_at_snr(np.zeros(10, np.float32), np.ones(10, np.float32), 0.0).any()


@given(samples=st.integers(-30, 30))
def test_shifting_keeps_the_length_and_brings_in_silence(samples):
    wave = np.arange(1, 21, dtype=np.float32)
    moved = shift_sound(wave, samples)
    assert len(moved) == 20
    assert np.count_nonzero(moved) == max(0, 20 - abs(samples))
    if 0 <= samples < 20:
        assert moved[samples] == 1
    elif -20 < samples < 0:
        assert moved[0] == 1 - samples


def test_jitter_by_one_changes_nothing_and_none_leaves_the_range():
    frames = clip().frames_THWC
    assert (color_jitter(frames, 1.0, 1.0, 1.0) == frames).all()
    grey = color_jitter(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8), 1.0, 1.0, 0.0)
    assert (np.ptp(grey, axis=-1) <= 1).all()
    assert color_jitter(frames, 2.0, 1.0, 1.0).mean() > frames.mean()


@pytest.mark.parametrize(
    "wrong", [{"crop": 0.0}, {"keep_time": 1.5}, {"flip": -0.1}, {"permute": 2.0}, {"gain_db": -3.0}, {"shift_s": -1.0}]
)
def test_what_cannot_be_meant_is_refused(wrong):
    with pytest.raises(ConfigError):
        Augmentation(**wrong)
