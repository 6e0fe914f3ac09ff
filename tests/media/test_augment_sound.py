"""Each change of a sound has the effect it says, measured; picture and sound stay in step; masks hide what they may."""

import json

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from unifusion.conversation import Clip
from unifusion.errors import ConfigError
from unifusion.media import augment as changes
from unifusion.media.augment import Augmentation, augmented, masked, spec_augment
from unifusion.media.prosody import measure_prosody

RATE = 16_000


def voice(hertz=150.0, seconds=2.0):
    """Harmonics in syllables of 4 a second."""
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.2 * np.sin(np.pi * 4 * t) ** 2 * sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 9))).astype(np.float32)


def pulses(seconds=4.0, each=0.5):
    """Bursts of 20 ms, and when they begin."""
    wave, starts = np.zeros(round(seconds * RATE), np.float32), np.arange(0.25, seconds - 0.1, each)
    for start in starts:
        wave[round(start * RATE) : round(start * RATE) + 320] = 0.5 * np.random.default_rng(0).standard_normal(320)
    return wave, starts


def begins(wave):
    """When bursts begin, by their loudness."""
    loud = np.convolve(np.abs(wave), np.ones(160) / 160, mode="same") > 0.05
    edges = np.flatnonzero(loud[1:] & ~loud[:-1]) / RATE
    return edges[np.concatenate(([True], np.diff(edges) > 0.1))]


def snr_db(clean, mixed):
    return 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean((mixed - clean).astype(np.float64) ** 2))


@given(snr=st.floats(-10, 40), color=st.sampled_from(["white", "pink"]))
def test_noise_has_the_ratio_asked_for(snr, color):
    clean = voice(seconds=0.5)
    assert snr_db(clean, changes.add_noise(clean, snr, np.random.default_rng(1), color=color)) == pytest.approx(snr, abs=0.1)


def test_white_noise_is_flat_in_hertz_and_pink_in_octaves():
    for color, slope in (("white", 3.0), ("pink", 0.0)):
        found = changes.noise(20 * RATE, np.random.default_rng(0), color=color)
        assert np.mean(found**2) == pytest.approx(1.0, rel=0.02)
        power, hertz = np.abs(np.fft.rfft(found)) ** 2, np.fft.rfftfreq(len(found), 1 / RATE)
        octaves = [10 * np.log10(power[(hertz >= low) & (hertz < 2 * low)].sum()) for low in 62.5 * 2.0 ** np.arange(7)]
        np.testing.assert_allclose(np.diff(octaves), slope, atol=0.5)
    with pytest.raises(ConfigError, match="white, pink"):
        changes.noise(10, np.random.default_rng(0), color="brown")


@pytest.mark.parametrize("factor", [0.7, 0.9, 1.1, 1.5])
def test_stretching_changes_length_and_tempo_and_keeps_the_pitch(factor):
    found = changes.stretch_time(voice(), RATE, factor)
    assert len(found) == round(2 * RATE / factor)
    before, after = measure_prosody(voice()), measure_prosody(found)
    assert after.pitch_hz == pytest.approx(before.pitch_hz, rel=0.02)
    assert after.rate_hz == pytest.approx(4 * factor, rel=0.15) and after.level_db == pytest.approx(before.level_db, abs=1.0)
    wave, starts = pulses()
    np.testing.assert_allclose(begins(changes.stretch_time(wave, RATE, factor)), starts / factor, atol=0.025)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_changes_length_tempo_and_pitch_together(factor):
    found = changes.change_speed(voice(), RATE, factor)
    assert len(found) == round(2 * RATE / factor)
    assert measure_prosody(found).pitch_hz == pytest.approx(150.0 * factor, rel=0.02)
    wave, _ = pulses()
    np.testing.assert_allclose(begins(changes.change_speed(wave, RATE, factor)), begins(wave) / factor, atol=0.003)


@pytest.mark.parametrize("semitones", [-5.0, -2.0, 1.0, 4.0])
def test_pitch_moves_by_semitones_and_nothing_else(semitones):
    found = changes.change_pitch(voice(), RATE, semitones)
    assert len(found) == 2 * RATE
    assert measure_prosody(found).pitch_hz == pytest.approx(150.0 * 2 ** (semitones / 12), rel=0.02)
    wave, starts = pulses()
    np.testing.assert_allclose(begins(changes.change_pitch(wave, RATE, semitones)), starts, atol=0.025)


def test_changes_of_real_speech(data):
    """Where the voice is real, its F0 moves as asked for: over four people, by the median."""
    rows = [json.loads(line) for line in (data / "ravdess_speech" / "manifest.jsonl").read_text().splitlines()]
    pitch, tempo = [], []
    for row in rows[7 :: len(rows) // 4][:4]:
        wave = soundfile.read(data / "ravdess_speech" / row["path"], dtype="float32")[0]
        before = measure_prosody(wave).pitch_hz
        pitch.append(measure_prosody(changes.change_pitch(wave, RATE, 3.0)).pitch_hz / before)
        tempo.append(measure_prosody(changes.stretch_time(wave, RATE, 0.85)).pitch_hz / before)
    assert np.median(pitch) == pytest.approx(2 ** (3 / 12), rel=0.02) and np.median(tempo) == pytest.approx(1.0, rel=0.02)


def test_a_factor_of_one_changes_nothing_and_too_much_is_refused():
    wave = voice(seconds=0.3)
    for change in (changes.stretch_time, changes.change_speed):
        np.testing.assert_allclose(change(wave, RATE, 1.0), wave, atol=1e-6)
        assert len(change(np.zeros(10, np.float32), RATE, 2.0)) == 5
        with pytest.raises(ConfigError, match=r"0\.25"):
            change(wave, RATE, 9.0)


def test_gain_is_gain_and_what_is_too_loud_is_made_softer_whole():
    wave = voice(seconds=0.5)
    assert changes.level_db(changes.change_gain(wave, 6.0)) - changes.level_db(wave) == pytest.approx(6.0, abs=0.01)
    held = changes.within_scale(changes.change_gain(wave, 30.0))
    assert np.abs(held).max() == pytest.approx(1.0) and np.corrcoef(held, wave)[0, 1] == pytest.approx(1.0)
    assert np.array_equal(changes.within_scale(wave), wave)


def both(seconds=4.0):
    """A clip whose picture is white while its sound is loud."""
    wave, starts = pulses(seconds)
    times = np.arange(0.0, seconds, 0.04)
    lit = (np.abs(times[:, None] - starts - 0.02) < 0.03).any(1)
    frames = np.broadcast_to(np.where(lit, 250, 5).astype(np.uint8)[:, None, None, None], (len(times), 8, 8, 3))
    return Clip(frames_THWC=frames, frame_times_s=times, waveform_N=wave, duration_s=seconds)


ALL = {"keep_time": 0.5, "tempo": (0.8, 1.2), "speed": (0.9, 1.1)}


@pytest.mark.parametrize("choices", [{"tempo": (0.7, 1.4)}, {"speed": (0.7, 1.4)}, ALL])
def test_picture_and_sound_stay_in_step(choices):
    for epoch in range(6):
        found = augmented(both(), Augmentation(**choices), key=f"0/a/{epoch}")
        assert len(found.waveform_N) == pytest.approx(found.duration_s * RATE, abs=2)
        assert (np.diff(found.frame_times_s) > 0).all() and found.frame_times_s[-1] < found.duration_s
        lit = found.frame_times_s[found.frames_THWC[:, 0, 0, 0] > 100]
        flashes = lit[np.concatenate(([True], np.diff(lit) > 0.15))]
        bursts = [t for t in begins(found.waveform_N) if 0.1 < t < found.duration_s - 0.1]
        assert len(bursts) >= 2 and all(np.abs(flashes - t).min() < 0.06 for t in bursts)


def test_each_change_is_drawn_for_itself_and_by_its_probability():
    def factor(**choices):
        return augmented(both(), Augmentation(tempo=(0.8, 1.25), **choices), key="3/a/0").duration_s

    assert factor() == factor(gain_db=6.0, pitch=2.0, noise_snr_db=(0, 10), flip=0.5, jitter=0.3)
    some = Augmentation(tempo=(0.5, 0.5), tempo_p=0.3)
    happened = np.mean([augmented(Clip(duration_s=1.0), some, key=f"0/{i}/0").duration_s == 2.0 for i in range(400)])
    assert happened == pytest.approx(0.3, abs=0.08)


def test_another_sound_as_noise():
    clean, other = voice(seconds=1.0), np.random.default_rng(5).normal(0, 0.1, 5_000).astype(np.float32)
    choices = Augmentation(noise_snr_db=(10, 10), noise_kinds=("other",))
    clip = Clip(waveform_N=clean, duration_s=1.0)
    found = augmented(clip, choices, key="0/a/0", others=[other])
    assert snr_db(clean, found.waveform_N) == pytest.approx(10.0, abs=0.1)
    added = found.waveform_N - clean
    assert np.corrcoef(added[:5_000], added[5_000:10_000])[0, 1] > 0.999, "repeated where it ends"
    with pytest.raises(ConfigError, match="no other sound"):
        augmented(clip, choices, key="0/a/0")


def test_frames_change_places_within_windows_alone():
    frames = np.arange(23)[:, None]
    for seed in range(20):
        found = changes.permute_frames(frames, np.random.default_rng(seed), window=5)[:, 0]
        assert sorted(found) == list(range(23)) and (found // 5 == np.arange(23) // 5).all() and (found != np.arange(23)).any()
    assert changes.permute_frames(frames, np.random.default_rng(0), window=1) is frames


def test_a_crop_is_wider_or_narrower_by_the_aspect_asked_for():
    frames = np.zeros((2, 100, 100, 3), np.uint8)
    assert changes.crop_frames(frames, 0.6, 0.5, 0.5, aspect=1.44).shape == (2, 50, 72, 3)
    assert changes.crop_frames(frames, 1.0, 1.0, 1.0, aspect=1.21).shape == (2, 91, 100, 3)
    clip, choices = Clip(frames_THWC=frames, frame_times_s=np.arange(2.0), duration_s=2.0), Augmentation(crop=0.5, aspect=1.33)
    shapes = {augmented(clip, choices, key=f"0/{i}/0").frames_THWC.shape[1:3] for i in range(50)}
    assert len(shapes) > 30 and all(0.7 < w / h < 1.4 and h >= 43 and w >= 43 for h, w in shapes)


def test_choices_are_read_from_a_file_with_the_nearest_name():
    read = Augmentation.from_dict({"tempo": [0.9, 1.1], "noise_kinds": ["white", "pink"], "flip": 0.5, "crop": 1, "time_masks": 2})
    assert read == Augmentation(tempo=(0.9, 1.1), noise_kinds=("white", "pink"), flip=0.5, crop=1, time_masks=2)
    assert Augmentation.from_dict({}) == Augmentation()
    with pytest.raises(ConfigError, match="did you mean 'noise_snr_db'"):
        Augmentation.from_dict({"noise_snr": [1, 2]})
    wrong = [
        {"tempo": 1.1}, {"tempo": [1.2, 0.9]}, {"tempo": [0.1, 1.0]}, {"flip": "yes"}, {"flip": True}, {"noise_kinds": ["brown"]},
        {"noise_kinds": []}, {"time_masks": 1.5}, {"pitch": 40}, {"aspect": 0.5}, {"tempo_p": 2.0},
        {"noise_snr_db": ["a", "b"]}, {"crop": float("nan")},
    ]  # fmt: skip
    for raw in wrong:
        with pytest.raises(ConfigError):
            Augmentation.from_dict(raw)


@given(time_masks=st.integers(0, 3), feature_masks=st.integers(0, 3), seed=st.integers(0, 99))
def test_masks_hide_runs_of_time_and_bands_and_no_more(time_masks, feature_masks, seed):
    features = torch.ones(50, 40)
    found = spec_augment(
        features, np.random.default_rng(seed), time_masks=time_masks, time_width=0.2, feature_masks=feature_masks, feature_width=0.1
    )
    assert features.all(), "the given ones are left alone"
    times, bands = (found == 0).all(1), (found == 0).all(0)
    assert torch.equal(found == 0, times[:, None] | bands[None]) and times.sum() <= 10 * time_masks and bands.sum() <= 4 * feature_masks


def test_masks_are_drawn_by_the_row_over_real_tokens():
    tokens = torch.ones(2, 30, 16)
    mask = torch.arange(30) < torch.tensor([[30], [12]])
    choices = Augmentation(time_masks=1, time_width=0.5)
    rows = [masked(tokens, mask, choices, keys=[f"0/a/{i}", f"0/b/{i}"]) for i in range(40)]
    assert any((r[0] == 0).any() for r in rows) and any((r[1, :12] == 0).any() for r in rows) and all(r[1, 12:].all() for r in rows)
    assert torch.equal(rows[3][0], masked(tokens[:1], mask[:1], choices, keys=["0/a/3"])[0]), "whatever it is batched with"
    assert masked(tokens, mask, Augmentation(), keys=["a", "b"]) is tokens
    hidden = [int((r[0, :, 0] == 0).sum()) for r in rows]
    assert max(hidden) <= 15 and len(set(hidden)) > 5
