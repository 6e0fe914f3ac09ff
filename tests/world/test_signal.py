"""The signal tools: resampling, warping, filters, levels, fades, the limiter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.world.signal import (
    RATE_HZ,
    active_level_db,
    band,
    fade,
    frame_levels_db,
    limit,
    resample,
    shape_spectrum,
    shaped_noise,
    to_level,
    warp,
)


def tone(hz, seconds=1.0, rate_hz=RATE_HZ, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)


def strongest_hz(waveform_N, rate_hz=RATE_HZ):
    spectrum = np.abs(np.fft.rfft(waveform_N * np.hanning(len(waveform_N)), 1 << 17))
    return spectrum.argmax() * rate_hz / (1 << 17)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(22_050, 16_000), (16_000, 64_000), (48_000, 16_000)])
def test_resampling_keeps_a_tone_where_and_as_loud_as_it_was(from_hz, to_hz):
    result_N = resample(tone(1000, rate_hz=from_hz), from_hz, to_hz)
    wanted_N = tone(1000, rate_hz=to_hz)
    assert abs(len(result_N) - len(wanted_N)) <= 1
    middle = slice(to_hz // 10, 9 * to_hz // 10)
    assert np.abs(result_N[middle] - wanted_N[: len(result_N)][middle]).max() < 0.002


def test_resampling_down_removes_what_would_fold_back():
    result_N = resample(tone(9500, rate_hz=22_050), 22_050, 16_000)
    assert np.abs(result_N[1600:-1600]).max() < 0.005


@settings(max_examples=25, deadline=None)
@given(count=st.integers(min_value=1, max_value=5000), seed=st.integers(min_value=0, max_value=99))
def test_resampling_there_and_back_gives_the_length_back(count, seed):
    noise_N = np.random.default_rng(seed).standard_normal(count)
    assert len(resample(noise_N, 1, 4)) == 4 * count
    assert len(resample(noise_N, 16_000, 16_000)) == count
    assert np.allclose(resample(noise_N, 1, 1), noise_N, atol=1e-5)


@pytest.mark.parametrize("speed", [0.94, 1.0, 1.12])
def test_warping_moves_pitch_and_length_together(speed):
    result_N, times_N = warp(tone(400), np.full(100, speed))
    assert len(result_N) == len(times_N) == pytest.approx(RATE_HZ / speed, abs=3)
    assert strongest_hz(result_N) == pytest.approx(400 * speed, rel=0.002)
    assert times_N[0] == 0.0 and times_N[-1] == pytest.approx(1.0, abs=0.001) and (np.diff(times_N) > 0).all()


def test_warping_tells_where_each_sample_came_from():
    source_N = np.zeros(RATE_HZ)
    source_N[8000:8040] = np.hanning(40)
    speed_N = 1 + 0.2 * np.sin(np.linspace(0, 9, RATE_HZ))
    result_N, times_N = warp(source_N, speed_N)
    assert times_N[result_N.argmax()] == pytest.approx(source_N.argmax() / RATE_HZ, abs=2e-4)


def test_a_band_keeps_its_inside_and_drops_its_outside():
    gain = band(500, 2000, order=3)(np.array([50.0, 1000.0, 7000.0]))
    assert gain[1] > 0.95 and gain[0] < 0.01 and gain[2] < 0.05
    filtered_N = shape_spectrum(tone(100) + tone(1000), band(500, 2000, order=3))
    assert strongest_hz(filtered_N) == pytest.approx(1000, abs=2) and np.abs(filtered_N[4000:-4000]).max() == pytest.approx(0.5, abs=0.02)


def test_shaped_noise_has_power_one_in_its_band():
    noise_N = shaped_noise(RATE_HZ, np.random.default_rng(0), band(1000, 2000, 4))
    power = np.abs(np.fft.rfft(noise_N)) ** 2
    assert np.mean(noise_N**2) == pytest.approx(1.0)
    assert power[800:2500].sum() / power.sum() > 0.92


@settings(max_examples=30, deadline=None)
@given(level_db=st.floats(min_value=-50, max_value=-5), pause=st.integers(min_value=0, max_value=20_000))
def test_the_active_level_does_not_see_pauses(level_db, pause):
    pause = pause // 320 * 320
    sound_N = np.concatenate([tone(500, 0.4), np.zeros(pause), tone(500, 0.4)])
    assert active_level_db(to_level(sound_N, level_db)) == pytest.approx(level_db, abs=1e-6)
    assert active_level_db(sound_N) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.05)


def test_levels_of_silence_and_of_nothing():
    assert active_level_db(np.zeros(0)) == active_level_db(np.zeros(500)) == -100.0
    assert not to_level(np.zeros(500), -20.0).any()
    assert len(frame_levels_db(np.zeros(10))) == 1 and len(frame_levels_db(np.zeros(700))) == 2


def test_fades_touch_the_ends_only():
    faded_N = fade(np.ones(RATE_HZ), 0.01, 0.02)
    assert faded_N[0] < 0.01 and faded_N[-1] < 0.01
    assert (faded_N[160:-320] == 1).all() and (np.diff(faded_N[:160]) > 0).all() and (np.diff(faded_N[-320:]) < 0).all()
    assert len(fade(np.ones(5), 0.01, 0.02)) == 5 and len(fade(np.zeros(0), 0.01, 0.01)) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(min_value=-20, max_value=20), min_size=1, max_size=50))
def test_the_limiter_bends_peaks_only_and_keeps_the_order(values):
    values_N = np.sort(np.array(values))
    limited_N = limit(values_N)
    assert np.abs(limited_N).max() <= 0.99
    assert (np.diff(limited_N) >= 0).all()
    below = np.abs(values_N) <= 0.8
    assert np.array_equal(limited_N[below], values_N[below])
