"""The measurements against signals whose answer is known, and the voice qualities against the measurements."""

import numpy as np
import pytest

from unifusion.world.acoustics import acoustic_features, f0_track, onset_times_s
from unifusion.world.prosody import Prosody
from unifusion.world.signal import RATE_HZ, warp
from unifusion.world.voice_quality import breathe, colour, creak, envelope, rasp, speed_curve, tilt, tremble


def buzz(hz, seconds=1.5):
    """A voice-like tone: harmonics falling by 6 dB per octave."""
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(hz, int(seconds * RATE_HZ))) / RATE_HZ
    return 0.1 * sum(np.sin(k * phase) / k for k in range(1, 20))


@pytest.mark.parametrize("hz", [70, 110, 220, 400])
def test_f0_is_found_without_octave_errors(hz):
    found_F, strength_F, _ = f0_track(buzz(hz))
    inner = found_F[5:-5]
    assert np.abs(12 * np.log2(inner / hz)).max() < 0.5
    assert strength_F[5:-5].min() > 0.85


def test_noise_is_unvoiced_and_silence_has_no_f0():
    noise_N = 0.1 * np.random.default_rng(0).standard_normal(RATE_HZ)
    assert acoustic_features(noise_N)["voiced_ratio"] < 0.05
    assert not f0_track(np.zeros(RATE_HZ))[0].any()


def test_a_glide_is_a_rise_and_its_range_is_right():
    features = acoustic_features(buzz(100 * 2 ** np.linspace(0, 1, int(1.5 * RATE_HZ))))
    assert features["f0_range_st"] == pytest.approx(0.9 * 12, abs=0.7)
    assert features["f0_rise_st"] == pytest.approx(0.65 * 12, abs=0.7)
    assert features["f0_hz"] == pytest.approx(100 * 2**0.5, rel=0.03)


def test_level_and_centroid_of_a_sine():
    sine_N = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(RATE_HZ) / RATE_HZ)
    features = acoustic_features(sine_N)
    assert features["level_db"] == pytest.approx(-23.0, abs=0.05)
    assert features["centroid_hz"] == pytest.approx(1000, abs=5) and features["spread_hz"] < 60
    assert features["active_share"] == 1.0 and features["speech_s"] == pytest.approx(1.0, abs=0.05)


def test_every_measurement_is_finite_and_named_the_same_for_any_input():
    inputs = [np.zeros(0), np.zeros(50), np.zeros(RATE_HZ), 0.1 * np.ones(300), buzz(120), np.eye(1, 4000)[0]]
    tables = [acoustic_features(x) for x in inputs]
    assert len({frozenset(t) for t in tables}) == 1
    assert all(np.isfinite(v) for t in tables for v in t.values())


def test_onsets_are_found_where_bursts_begin():
    times = [0.2, 0.45, 0.9, 1.3]
    sound_N = np.zeros(2 * RATE_HZ)
    for time_s in times:
        first = int(time_s * RATE_HZ)
        sound_N[first : first + 1600] += 0.3 * np.exp(-np.arange(1600) / 300) * np.sin(np.arange(1600))
    assert onset_times_s(sound_N) == pytest.approx(times, abs=0.015)
    assert onset_times_s(np.zeros(RATE_HZ)) == [] and onset_times_s(np.zeros(3)) == []


def test_tremor_shows_in_envelope_and_pitch():
    plain_N = buzz(150)
    cues = Prosody(tremor=1.0)
    shaken_N = warp(plain_N, speed_curve(len(plain_N), 0.0, cues, np.random.default_rng(0)))[0]
    features = acoustic_features(shaken_N)
    assert features["f0_tremor_db"] > -2
    assert acoustic_features(tremble(plain_N, 1.0))["tremor_db"] > -1
    assert acoustic_features(plain_N)["tremor_db"] < -3


def test_lilt_shows_as_slow_movement_of_pitch():
    plain_N = buzz(150)
    lilting_N = warp(plain_N, speed_curve(len(plain_N), 0.0, Prosody(lilt=1.0), np.random.default_rng(0)))[0]
    assert acoustic_features(lilting_N)["f0_lilt_db"] > -2
    assert acoustic_features(lilting_N)["f0_range_st"] > 2.5


def test_creak_is_rough_and_tilt_moves_brightness():
    plain = acoustic_features(buzz(150))
    assert acoustic_features(creak(buzz(150), 1.0, np.random.default_rng(0)))["roughness_db"] > plain["roughness_db"] + 5
    assert acoustic_features(tilt(buzz(150), 8.0))["tilt_db"] > plain["tilt_db"] + 4
    assert acoustic_features(tilt(buzz(150), -12.0))["centroid_hz"] < plain["centroid_hz"]


def test_breath_lowers_periodicity_and_follows_the_voice():
    voice_N = np.concatenate([buzz(150, 0.5), np.zeros(RATE_HZ // 2), buzz(150, 0.5)])
    breathy_N = breathe(voice_N, 0.5, np.random.default_rng(0))
    assert acoustic_features(breathy_N)["periodicity"] < acoustic_features(voice_N)["periodicity"] - 0.03
    assert np.abs(breathy_N[RATE_HZ // 2 + 400 : RATE_HZ - 400]).max() < 1e-6


def test_harshness_adds_overtones_and_lowers_peaks():
    sine_N = 0.3 * np.sin(2 * np.pi * 200 * np.arange(RATE_HZ) / RATE_HZ)
    harsh_N = rasp(sine_N, 1.0)
    assert acoustic_features(harsh_N)["centroid_hz"] > acoustic_features(sine_N)["centroid_hz"] + 3
    crest = [np.abs(x).max() / np.sqrt(np.mean(x**2)) for x in (sine_N, harsh_N)]
    assert crest[1] < 0.9 * crest[0]


def test_the_envelope_is_the_running_rms():
    assert envelope(0.3 * np.ones(4000))[1000:3000] == pytest.approx(0.3)
    assert len(envelope(np.zeros(100))) == 100


def test_a_neutral_voice_is_left_alone():
    plain_N = buzz(120)
    assert np.array_equal(colour(plain_N, Prosody(), np.random.default_rng(0)), plain_N)
    drift = speed_curve(RATE_HZ, 0.02, Prosody(), np.random.default_rng(0)) / 1.02
    assert 0.985 < drift.min() < drift.max() < 1.015
