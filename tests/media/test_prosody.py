"""Loudness, pitch and rate of voices made to order."""

import numpy as np
import pytest

from unifusion.media.prosody import measure_prosody

RATE = 16_000


def voice(pitch_hz, *, seconds=2.0, level=0.1, syllables=0.0, tilt=1.0):
    """Harmonics of a pitch; with `syllables` a second, that many swells."""
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * t + k) / k**tilt for k in range(1, 12) if pitch_hz * k < 7000)
    tone = tone / np.sqrt(np.mean(tone**2)) * level
    swell = 0.52 - 0.48 * np.cos(2 * np.pi * syllables * t) if syllables else 1.0
    return (tone * swell).astype(np.float32)


@pytest.mark.parametrize("pitch_hz", [75, 90, 120, 165, 200, 260, 340, 440])
@pytest.mark.parametrize("tilt", [0.5, 1.0, 2.0])
def test_pitch_is_found_without_jumps_of_an_octave(pitch_hz, tilt):
    found = measure_prosody(voice(pitch_hz, tilt=tilt) + 0.003 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32))
    assert found.pitch_hz == pytest.approx(pitch_hz, rel=0.025)


def test_level_is_that_of_the_sounding_part():
    padded = np.concatenate([np.zeros(RATE, np.float32), voice(150, level=0.1), np.zeros(2 * RATE, np.float32)])
    assert measure_prosody(padded).level_db == pytest.approx(-20.0, abs=0.5)
    assert (measure_prosody(padded).start_s, measure_prosody(padded).end_s) == (pytest.approx(1.0, abs=0.05), pytest.approx(3.0, abs=0.05))
    assert measure_prosody(voice(150, level=0.01)).level_db == pytest.approx(-40.0, abs=0.5)


@pytest.mark.parametrize("syllables", [2.0, 3.0, 4.0, 5.0, 6.0])
def test_syllables_are_counted(syllables):
    assert measure_prosody(voice(140, seconds=3.0, syllables=syllables)).rate_hz == pytest.approx(syllables, abs=0.5)


def test_noise_has_no_pitch_and_silence_no_measure():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    assert measure_prosody(noise).pitch_hz is None
    assert measure_prosody(noise).brightness_hz > 3 * measure_prosody(voice(150)).brightness_hz
    assert measure_prosody(np.zeros(RATE, np.float32)) is None and measure_prosody(noise[:1000]) is None
