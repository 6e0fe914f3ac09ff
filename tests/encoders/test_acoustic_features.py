"""Measures of sound: equal to librosa's own, in step with what is heard, scaled by a table that can be fitted again."""

import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from unifusion.conversation import Clip
from unifusion.encoders._acoustic import COLUMNS, GROUPS, hertz_of, measure, pitch
from unifusion.encoders.acoustic_features import AcousticFeatures
from unifusion.errors import ConfigError, MediaError

librosa = pytest.importorskip("librosa")
RATE = 16_000
SHAPE = {"n_fft": 512, "hop_length": 160}


def tone(hertz, seconds=1.0, level=0.3):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def voice(hertz, seconds=1.0, level=0.3):
    """Harmonics that fall off, as a voice's do."""
    return sum(tone(hertz * k, seconds, level / k) for k in range(1, 12)).astype(np.float32)


def noise(seconds=1.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def clicks(per_minute, seconds=8.0):
    found, burst = np.zeros(round(seconds * RATE), np.float32), np.random.default_rng(0).normal(0, 0.5, 80)
    for start in np.arange(0.3, seconds - 0.1, 60 / per_minute):
        found[round(start * RATE) : round(start * RATE) + 80] += burst
    return found


def heard(waveform, **choices):
    """The columns of one sound by name (S,), and which are known."""
    config = AcousticFeatures.resolve(AcousticFeatures.Config(**choices))
    given = AcousticFeatures.preprocess(config, Clip(waveform_N=waveform, duration_s=len(waveform) / RATE))
    columns, known = (given.tensors[k].flatten(0, 1)[given.mask_S].numpy() for k in ("columns", "known"))
    names = AcousticFeatures.columns(config)
    return dict(zip(names, columns.T, strict=True)), dict(zip(names, known.T, strict=True))


@pytest.fixture(scope="module")
def spoken(data):
    """Real speech: four clips of four people."""
    rows = [json.loads(line) for line in (data / "ravdess_speech" / "manifest.jsonl").read_text().splitlines()]
    return [soundfile.read(data / "ravdess_speech" / row["path"], dtype="float32")[0] for row in rows[7 :: len(rows) // 4][:4]]


def check_equal_to_librosa(waveform):
    frames = -(-len(waveform) // 160)
    found = {k: v.T for k, v in measure(waveform).columns.items()}
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=waveform, sr=RATE, n_mels=64, **SHAPE))
    mfcc = librosa.feature.mfcc(y=waveform, sr=RATE, n_mfcc=20, n_mels=64, **SHAPE)
    deltas = [librosa.feature.delta(mfcc, order=k, mode="nearest") for k in (1, 2)]
    rms = librosa.feature.rms(y=waveform, frame_length=512, hop_length=160)
    shown = [f(y=waveform, sr=RATE, **SHAPE) for f in (librosa.feature.spectral_centroid, librosa.feature.spectral_rolloff)]
    zcr = librosa.feature.zero_crossing_rate(waveform, frame_length=512, hop_length=160)
    onset = librosa.onset.onset_strength(y=waveform, sr=RATE, n_mels=64, **SHAPE)
    np.testing.assert_allclose(found["mel"], mel[:, :frames], atol=1e-3)
    np.testing.assert_allclose(found["mfcc"], np.concatenate([mfcc, *deltas])[:, :frames], atol=2e-3)
    np.testing.assert_allclose(found["energy"], 20 * np.log10(np.maximum(rms, 1e-5))[:, :frames], atol=1e-3)
    np.testing.assert_allclose(found["spectrum"], np.concatenate([*shown, zcr])[:, :frames], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(found["onset"][0], onset[:frames], atol=1e-3)
    f0 = librosa.yin(waveform, fmin=65, fmax=500, sr=RATE, frame_length=1024, hop_length=160)
    own, periodic = pitch(waveform)
    np.testing.assert_allclose(own, f0[: len(own)], rtol=1e-4)
    assert periodic.min() >= 0 and periodic.max() <= 1


def test_columns_are_librosas_own():
    for waveform in (noise(), tone(440.0), voice(120.0, 0.737), clicks(120, 2.0)):
        check_equal_to_librosa(waveform)


def test_columns_are_librosas_own_on_speech(spoken):
    for waveform in spoken:
        check_equal_to_librosa(waveform)


def test_a_long_sound_is_measured_in_blocks_as_it_is_at_once(monkeypatch):
    waveform = np.concatenate([voice(hz, 0.6) for hz in (100.0, 150.0, 220.0, 300.0)])
    whole = pitch(waveform)
    monkeypatch.setattr("unifusion.encoders._acoustic._BLOCK", 50)
    for a, b in zip(whole, pitch(waveform), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert np.isfinite(measure(waveform).columns["clip"]).all()


def test_louder_is_louder_and_higher_is_higher():
    levels = [heard(tone(300.0, level=v))[0]["rms_db"].mean() for v in (0.01, 0.1, 0.5)]
    assert levels == sorted(levels) and levels[2] - levels[1] == pytest.approx(20 * np.log10(5), abs=0.01)
    for name in ("centroid_hz", "zcr", "rolloff_hz"):
        rising = [heard(tone(hz))[0][name].mean() for hz in (200.0, 500.0, 1500.0, 4000.0)]
        assert rising == sorted(rising), name
    for hertz in (80.0, 120.0, 200.0, 350.0):
        found, known = heard(voice(hertz))
        assert known["f0_st"].all() and hertz_of(np.median(found["f0_st"])) == pytest.approx(hertz, rel=0.01)
        assert found["f0_mean_st"][0] == pytest.approx(12 * np.log2(hertz / 55), abs=0.2) and found["jitter"][0] < 0.01


def test_a_rising_pitch_and_a_swell_have_the_slopes_they_have():
    seconds = np.arange(2 * RATE) / RATE
    octave_a_second = np.sin(2 * np.pi * 100 * (2**seconds - 1) / np.log(2))
    found, _ = heard((octave_a_second * 0.02 * 10 ** (6 * seconds / 20)).astype(np.float32))
    assert found["f0_slope_st_s"][0] == pytest.approx(12.0, rel=0.05) and found["f0_range_st"][0] == pytest.approx(0.9 * 24, rel=0.1)
    assert found["level_slope_db_s"][0] == pytest.approx(6.0, rel=0.1)


@pytest.mark.parametrize("per_minute", [75, 90, 100, 120, 140, 150])
def test_clicks_have_their_tempo(per_minute):
    found, _ = heard(clicks(per_minute))
    assert found["tempo_bpm"][0] == pytest.approx(per_minute, rel=0.02)
    assert found["onset_rate_hz"][0] == pytest.approx(per_minute / 60, rel=0.1)


def test_onsets_stand_where_clicks_do():
    found = measure(clicks(120, 3.0)).columns["onset"][:, 0]
    near = np.abs(np.arange(len(found))[:, None] * 0.01 - np.arange(0.3, 2.9, 0.5)) < 0.035
    assert found[~near.any(1)].max() < 0.2 * min(found[n].max() for n in near.T)


def test_pitch_of_speech_is_that_of_pyin(spoken):
    """Where both hear a voice: nearly all frames within half a semitone."""
    apart, both, alike = [], 0, []
    for waveform in spoken:
        reference, voiced, _ = librosa.pyin(waveform, fmin=65, fmax=500, sr=RATE, frame_length=1024, hop_length=160)
        found = measure(waveform)
        mine = found.known["pitch"][:, 0]
        here = mine & voiced[: len(mine)]
        apart.append(12 * np.log2(reference[: len(mine)][here] / 55) - found.columns["pitch"][here, 0])
        alike.append(mine == voiced[: len(mine)])
        both += here.sum()
    apart = np.abs(np.concatenate(apart))
    assert both > 200 and np.median(apart) < 0.1 and (apart < 0.5).mean() > 0.95
    assert np.concatenate(alike).mean() > 0.75


def test_what_is_not_there_is_unknown_and_comes_out_as_the_mean():
    found, known = heard(np.zeros(RATE, np.float32))
    assert not known["f0_st"].any() and not known["tempo_bpm"].any() and not known["level_mean_db"].any() and known["rms_db"].all()
    assert found["rms_db"] == pytest.approx(-100.0) and (found["pause_share"] == 1).all() and not found["voiced"].any()
    config = AcousticFeatures.resolve(AcousticFeatures.Config())
    given = AcousticFeatures.preprocess(config, Clip(waveform_N=np.zeros(RATE, np.float32), duration_s=1.0))
    tokens = AcousticFeatures.build(config).encode_chunks(**given.tensors)
    at = AcousticFeatures.columns(config).index("f0_mean_st")
    assert not tokens[..., at].any() and tokens[..., :64].abs().max() <= 10


def test_tokens_are_means_of_frames_and_their_times_are_the_middle():
    waveform = np.concatenate([voice(150.0, 0.5), np.zeros(RATE // 2, np.float32), noise(0.255)])
    single, by_one = heard(waveform, stride=1)
    found, by_five = heard(waveform, stride=5, chunk_s=1.0)
    assert len(single["rms_db"]) == 126 and len(found["rms_db"]) == 26
    np.testing.assert_allclose(found["rms_db"][:25], single["rms_db"][:125].reshape(25, 5).mean(1), rtol=1e-5)
    some = by_one["f0_st"][:125].reshape(25, 5)
    pitches = (single["f0_st"][:125].reshape(25, 5) * some).sum(1)[some.any(1)] / some.sum(1)[some.any(1)]
    np.testing.assert_allclose(found["f0_st"][:25][some.any(1)], pitches, rtol=1e-5)
    np.testing.assert_array_equal(by_five["f0_st"][:25] > 0, some.any(1))
    config = AcousticFeatures.resolve(AcousticFeatures.Config(stride=5, chunk_s=1.0))
    given = AcousticFeatures.preprocess(config, Clip(waveform_N=waveform, waveform_start_s=1.0, duration_s=2.255))
    assert given.times_S[0] == pytest.approx(1.02) and given.times_S[24] == pytest.approx(2.22) and given.times_S[25] == pytest.approx(2.25)
    assert given.tensors["columns"].shape == (2, 20, 146) and not given.tensors["known"][1, 6:].any()


def test_columns_can_be_chosen():
    names = AcousticFeatures.columns()
    assert len(names) == len(set(names)) == 146 == AcousticFeatures.build(AcousticFeatures.tiny()).width
    some = AcousticFeatures.Config(backbone={"groups": ["clip", "pitch"]})
    assert AcousticFeatures.columns(some) == COLUMNS["clip"] + COLUMNS["pitch"]
    both, whole = heard(noise(), backbone={"groups": ["clip", "pitch"]})[0], heard(noise())[0]
    assert all(np.array_equal(both[n], whole[n]) for n in both)
    assert tuple(AcousticFeatures.resolve(AcousticFeatures.Config()).backbone["groups"]) == GROUPS
    with pytest.raises(ConfigError, match="did you mean 'pitch'"):
        AcousticFeatures.resolve(AcousticFeatures.Config(backbone={"groups": ["pich"]}))
    for wrong in ({"backbone": {"groups": []}}, {"backbone": {"groups": ["mel", "mel"]}}, {"stride": 0}, {"stride": 3}):
        with pytest.raises(ConfigError):
            AcousticFeatures.resolve(AcousticFeatures.Config(**wrong))


def test_speech_is_scaled_to_about_zero_and_one(spoken):
    config = AcousticFeatures.resolve(AcousticFeatures.Config())
    encoder = AcousticFeatures.build(config)
    rows = [AcousticFeatures.preprocess(config, Clip(waveform_N=w, duration_s=len(w) / RATE)) for w in spoken]
    tokens = torch.cat([encoder.encode_chunks(**r.tensors).flatten(0, 1)[r.mask_S] for r in rows])
    assert tokens.mean().abs() < 0.3 and 0.6 < tokens.std() < 1.4


def test_means_and_deviations_can_be_fitted_saved_and_read(tmp_path):
    config = AcousticFeatures.resolve(AcousticFeatures.Config())
    rows = [AcousticFeatures.preprocess(config, Clip(waveform_N=voice(90.0 + 40 * i) + noise(seed=i), duration_s=1.0)) for i in range(4)]
    encoder = AcousticFeatures.build(config)
    shipped = encoder.backbone.mean.clone()
    encoder.fit_normalization(rows)
    assert not torch.equal(encoder.backbone.mean, shipped)
    tokens = torch.cat([encoder.encode_chunks(**r.tensors).flatten(0, 1)[r.mask_S] for r in rows])
    assert tokens[:, :64].mean(0).abs().max() < 1e-3 and (tokens[:, :64].std(0) - 1).abs().max() < 0.02
    with pytest.raises(ConfigError, match="no rows"):
        encoder.fit_normalization([])
    encoder.backbone.save_pretrained(tmp_path)
    again = AcousticFeatures.build(AcousticFeatures.Config(source=str(tmp_path)))
    assert torch.equal(again.backbone.mean, encoder.backbone.mean) and torch.equal(again.backbone.sd, encoder.backbone.sd)


def test_faster_than_a_twentieth_of_real_time():
    waveform = np.concatenate([voice(110.0, 5.0), noise(5.0)])
    config = AcousticFeatures.resolve(AcousticFeatures.Config())
    clip = Clip(waveform_N=waveform, duration_s=10.0)
    AcousticFeatures.preprocess(config, clip)
    start = time.process_time()
    AcousticFeatures.preprocess(config, clip)
    assert time.process_time() - start < 0.05 * 10


def test_too_short_and_without_librosa(monkeypatch):
    config = AcousticFeatures.resolve(AcousticFeatures.Config())
    short = Clip(waveform_N=noise()[:511], duration_s=0.032)
    with pytest.raises(MediaError, match="32 ms"):
        AcousticFeatures.preprocess(config, short)
    assert AcousticFeatures.preprocess(config, replace(short, waveform_N=noise()[:512])).mask_S.sum() == 2
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(ConfigError, match=r"unifusion-x\[acoustic\]"):
        AcousticFeatures.preprocess(config, Clip(waveform_N=noise(), duration_s=1.0))
