"""Effects: every kind sounds, strokes are found back, kinds are told apart by ear, nothing leaks out of its span."""

import numpy as np
import pytest

from unifusion.errors import ConfigError
from unifusion.world.acoustics import acoustic_features, onset_times_s
from unifusion.world.effects import COUNTABLE, minimum_seconds, stroke_times_s, synthesise, synthesise_bed
from unifusion.world.script import SOUNDS, SoundEvent
from unifusion.world.signal import RATE_HZ, active_level_db


def _event(kind, seed=0, count=1, length_s=None, level_db=-20.0):
    length_s = length_s or max(0.9, minimum_seconds(kind, count))
    return SoundEvent(kind=kind, start_s=1.0, end_s=1.0 + length_s, level_db=level_db, count=count, seed=seed)


@pytest.mark.parametrize("kind", SOUNDS)
def test_length_level_peak_and_sameness(kind):
    sound_N = synthesise(_event(kind, seed=5, level_db=-17.0))
    assert len(sound_N) == round(_event(kind).end_s * RATE_HZ) - RATE_HZ
    assert active_level_db(sound_N) == pytest.approx(-17.0, abs=0.2)
    assert np.abs(sound_N).max() < 0.9
    assert np.array_equal(sound_N, synthesise(_event(kind, seed=5, level_db=-17.0)))
    assert not np.array_equal(sound_N, synthesise(_event(kind, seed=6, level_db=-17.0)))


@pytest.mark.parametrize("kind", COUNTABLE)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_an_onset_detector_counts_the_strokes(kind, count):
    for seed in range(5):
        event = _event(kind, seed=seed, count=count, length_s=minimum_seconds(kind, count) * (1 + 0.1 * seed))
        heard = onset_times_s(np.concatenate([np.zeros(RATE_HZ), synthesise(event), np.zeros(RATE_HZ)]))
        assert len(heard) == count
        assert np.allclose(heard, stroke_times_s(event), atol=0.02)


def test_knocks_are_clearly_apart():
    gaps = [np.diff(stroke_times_s(_event("knocking", seed=s, count=5))) for s in range(20)]
    assert min(g.min() for g in gaps) >= 0.215


def test_too_many_strokes_are_refused_and_the_remedy_works():
    with pytest.raises(ConfigError, match="minimum_seconds"):
        synthesise(_event("bell", count=6, length_s=1.0))
    assert len(synthesise(_event("bell", count=6, length_s=minimum_seconds("bell", 6))))


def test_unknown_kind_and_empty_span_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'siren'"):
        synthesise(SoundEvent(kind="sirene", start_s=0, end_s=1, level_db=-20))
    with pytest.raises(ConfigError, match="end_s"):
        synthesise(SoundEvent(kind="rain", start_s=1, end_s=1, level_db=-20))


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_bed_fills_the_clip(kind):
    bed_N = synthesise_bed(kind, 3, 4.0)
    assert len(bed_N) == 4 * RATE_HZ
    assert np.sqrt(np.mean(bed_N**2)) == pytest.approx(1.0)
    if kind in ("rain", "wind", "engine", "applause"):
        quarters = np.mean(bed_N.reshape(8, -1) ** 2, axis=1)
        assert quarters.min() > 0.02


def _table(seeds):
    rows = [acoustic_features(synthesise(_event(k, seed=s, length_s=1.2))) for k in SOUNDS for s in seeds]
    table = np.array([[v for n, v in r.items() if n not in ("level_db", "speech_s")] for r in rows])
    names = [n for n in rows[0] if n not in ("level_db", "speech_s")]
    for column in ("f0_hz", "centroid_hz"):
        table[:, names.index(column)] = np.log(np.maximum(table[:, names.index(column)], 40))
    return table, np.repeat(np.arange(len(SOUNDS)), len(list(seeds)))


def test_nearest_centroid_tells_the_kinds_apart():
    known, known_kind = _table(range(12))
    heard, heard_kind = _table(range(1000, 1010))
    within = np.concatenate([known[known_kind == k] - known[known_kind == k].mean(0) for k in range(len(SOUNDS))])
    scale = known.std(0) + 1e-9
    covariance = np.cov((within / scale).T) + 0.05 * np.eye(known.shape[1])
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    centroids = np.stack([(known[known_kind == k] / scale @ whiten).mean(0) for k in range(len(SOUNDS))])
    guess = ((heard / scale @ whiten)[:, None] - centroids).__pow__(2).sum(-1).argmin(1)
    assert np.mean(guess == heard_kind) >= 0.95


def test_the_third_alone_tells_major_from_minor():
    for seed in range(10):
        major, minor = (acoustic_features(synthesise(_event(f"chord {m}", seed=seed)))["third"] for m in ("major", "minor"))
        assert major > 0 > minor
