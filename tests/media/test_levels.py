"""Silence, noise and pauses."""

import numpy as np
import pytest

from tests.engine.listeners import RATE_HZ, placed, warble, word
from unifusion.media.levels import STEP_S, can_be_speech, levels_db, quiet_spans, quietest


def noise(seconds, level=0.1, seed=0):
    return (np.random.default_rng(seed).normal(0, level, round(seconds * RATE_HZ))).astype(np.float32)


def test_levels_are_decibels_of_full_scale():
    tone = np.sqrt(2) * np.sin(2 * np.pi * 400 * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    assert levels_db(0.1 * tone, RATE_HZ) == pytest.approx(np.full(40, -20.0), abs=0.05)
    assert levels_db(np.zeros(401, np.float32), RATE_HZ).tolist() == pytest.approx([-100.0, -100.0])
    assert len(levels_db(np.zeros(0, np.float32), RATE_HZ)) == 0


@pytest.mark.parametrize(("sound", "why"), [
    (np.zeros(RATE_HZ, np.float32), "silent"), (noise(2.0, 0.001), "silent"), (np.zeros(0, np.float32), "silent"),
    (noise(2.0, 0.1), "steady"), (0.3 * np.sin(np.arange(2 * RATE_HZ) / 20).astype(np.float32), "steady"),
    (placed([(0.3, word(200))], 1.5), ""), (placed([(0.3, 0.02 * word(200))], 1.5), ""), (warble(), ""),
    (placed([(0.3, word(200))], 1.5) + noise(1.5, 0.05), ""),
])  # fmt: skip
def test_what_can_be_speech(sound, why):
    assert can_be_speech(sound, RATE_HZ) == why


def test_pauses_are_found_and_noise_has_none():
    sound = placed([(0.5, word(200)), (2.0, word(300))], 3.0)
    (a, b, c) = quiet_spans(levels_db(sound, RATE_HZ))
    assert a == pytest.approx((0.0, 0.5), abs=0.1) and b == pytest.approx((1.1, 2.0), abs=0.1) and c[1] == pytest.approx(3.0)
    assert quiet_spans(levels_db(noise(3.0), RATE_HZ)) == [] == quiet_spans(np.zeros(0))
    assert quiet_spans(levels_db(np.zeros(RATE_HZ, np.float32), RATE_HZ)) == [(0.0, 1.0)]


def test_the_quietest_moment_lies_in_the_last_half():
    sound = noise(4.0, 0.1)
    sound[round(0.5 * RATE_HZ) : round(1.5 * RATE_HZ)] = 0.0
    sound[round(2.8 * RATE_HZ) : round(3.2 * RATE_HZ)] *= 0.01
    assert quietest(sound, RATE_HZ) / RATE_HZ == pytest.approx(3.0, abs=0.15)
    assert 0 < quietest(sound[:10], RATE_HZ) <= 10 and STEP_S == 0.025
