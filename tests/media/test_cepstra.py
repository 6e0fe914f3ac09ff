"""Frames of sound: where they lie, what they leave out, and what noise does to them."""

import numpy as np
import pytest

from unifusion.media.cepstra import HOP_S, as_heard_in, cepstra, log_mels

RATE = 16_000


def syllables(seconds=2.0, hertz=150.0, seed=0):
    """Harmonics whose colour changes."""
    t = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(seed)
    weights = np.repeat(rng.random((12, 20)), -(-len(t) // 12), axis=0)[: len(t)]
    return (0.02 * (weights * np.sin(2 * np.pi * hertz * np.arange(1, 21) * t[:, None])).sum(1)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("seconds", [0.005, 0.5, 1.237])
def test_a_frame_lies_around_its_time(rate, seconds):
    wave = np.zeros(round(seconds * rate), np.float32)
    wave[len(wave) // 2] = 1.0
    mels = log_mels(wave, rate)
    assert len(mels) == int(seconds / HOP_S) + 1 and mels.shape[1] == 40
    assert mels.sum(1).argmax() * HOP_S == pytest.approx(len(wave) // 2 / rate, abs=HOP_S)


def test_the_level_is_left_out():
    wave = syllables()
    loud, soft = (as_heard_in(log_mels(wave), log_mels(wave * gain)) for gain in (1.0, 0.25))
    for a, b in zip(loud, soft, strict=True):
        np.testing.assert_allclose(cepstra(a), cepstra(b), atol=1e-2)
    assert np.abs(cepstra(log_mels(wave))[:, :12].mean(0)).max() < 1e-9


def test_what_noise_hides_is_hidden_in_both():
    clean = syllables()
    noisy = clean + 0.02 * np.random.default_rng(1).standard_normal(len(clean)).astype(np.float32)
    away = np.abs(cepstra(log_mels(clean)) - cepstra(log_mels(noisy))).mean()
    said, heard = as_heard_in(log_mels(clean), log_mels(noisy))
    assert np.abs(cepstra(said) - cepstra(heard)).mean() < 0.6 * away


def test_silence_has_frames_too():
    assert np.isfinite(cepstra(log_mels(np.zeros(1600, np.float32)))).all()
