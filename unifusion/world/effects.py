"""Twelve kinds of sound, synthesised: struck modes, pulse trains, swept tones, filtered noise. numpy only.

Every sound is a function of its `SoundEvent`: the seed draws pitch, timbre and spacing, `count` says how many strokes
where strokes can be counted. Stroke times are public truth (`stroke_times_s`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unifusion.errors import ConfigError, nearest
from unifusion.world.script import SOUNDS, SoundEvent
from unifusion.world.signal import RATE_HZ, fade, limit, to_level
from unifusion.world.timbres import BEDS, STROKES

__all__ = ["COUNTABLE", "minimum_seconds", "stroke_times_s", "synthesise", "synthesise_bed"]


@dataclass(frozen=True)
class _Spacing:
    """Seconds between strokes, and how long the last one needs."""

    least_s: float
    most_s: float
    tail_s: float


_SPACING = {
    "bell": _Spacing(0.40, 0.8, 0.45),
    "knocking": _Spacing(0.22, 0.40, 0.15),
    "footsteps": _Spacing(0.40, 0.65, 0.25),
    "bird": _Spacing(0.30, 0.55, 0.20),
    "bark": _Spacing(0.40, 0.70, 0.25),
}
COUNTABLE = tuple(_SPACING)
"""Kinds whose strokes can be counted."""
PEAK_DB = -13.0
"""Peaks are bent to at most 13 dB above the active level, so that a sound at -14 dB does not reach full scale."""


def _check(kind: str) -> None:
    if kind not in SOUNDS:
        raise ConfigError(f"no sound {kind!r} in clip world;", remedy=nearest(kind, list(SOUNDS)))


def _rng(seed: int, kind: str, use: int) -> np.random.Generator:
    """A generator for one use of one sound; the kind goes in so that equal seeds of two kinds have nothing in common."""
    return np.random.default_rng([seed % 2**63, zlib.crc32(kind.encode()), use])


def minimum_seconds(kind: str, count: int = 1) -> float:
    """Return the shortest span in which `count` strokes stay clearly apart; 0.3 s for kinds that are not counted."""
    _check(kind)
    spacing = _SPACING.get(kind)
    return 0.3 if spacing is None else (count - 1) * spacing.least_s * 1.05 + spacing.tail_s


def stroke_times_s(event: SoundEvent) -> tuple[float, ...]:
    """Return when each stroke of a countable sound begins, in the clip's time; () for other kinds.

    Raises:
        ConfigError: the span is too short for the strokes to be heard apart.
    """
    _check(event.kind)
    spacing = _SPACING.get(event.kind)
    if spacing is None:
        return ()
    span_s = event.end_s - event.start_s
    if event.count < 1 or span_s < minimum_seconds(event.kind, event.count) - 1e-9:
        wanted = minimum_seconds(event.kind, max(1, event.count))
        remedy = f"give at least one stroke and {wanted:.2f} s (effects.minimum_seconds)."
        raise ConfigError(f"{event.count} strokes of {event.kind} in {span_s:.2f} s;", remedy=remedy)
    if event.count == 1:
        return (event.start_s,)
    rng = _rng(event.seed, event.kind, 1)
    room_s = (span_s - spacing.tail_s) / (event.count - 1)
    gap_s = min(room_s, spacing.most_s, spacing.least_s * rng.uniform(1.05, 1.6))
    shifts = np.concatenate([[0.0], rng.uniform(-0.025, 0.025, event.count - 1) * gap_s])
    return tuple(float(event.start_s + k * gap_s + shifts[k]) for k in range(event.count))


def _strokes(event: SoundEvent, total: int) -> np.ndarray:
    """One stroke sound placed at each stroke time, each a little louder or softer."""
    result = np.zeros(total)
    make: Callable[[np.random.Generator], np.ndarray] = STROKES[event.kind](_rng(event.seed, event.kind, 0))
    rng = _rng(event.seed, event.kind, 2)
    for time_s in stroke_times_s(event):
        first = max(0, int((time_s - event.start_s) * RATE_HZ))
        sound_N = make(rng)[: total - first]
        result[first : first + len(sound_N)] += sound_N * 10 ** (rng.uniform(-1, 1) / 20)
    return result


def synthesise(event: SoundEvent) -> np.ndarray:
    """Return float64 samples at 16 kHz lasting `end_s - start_s`, at an active level of `level_db`.

    Raises:
        ConfigError: an unknown kind, an empty span, or too many strokes for the span.
    """
    _check(event.kind)
    total = round((event.end_s - event.start_s) * RATE_HZ)
    if total <= 0:
        raise ConfigError(f"{event.kind} from {event.start_s} to {event.end_s} s;", remedy="end_s must come after start_s.")
    if event.kind in STROKES:
        sound_N = fade(_strokes(event, total), 0.0, 0.02)
    else:
        sound_N = fade(BEDS[event.kind](total, _rng(event.seed, event.kind, 0)), 0.01, 0.04)
    sound_N = limit(to_level(sound_N, PEAK_DB), knee=0.6)
    return to_level(sound_N, event.level_db)


def synthesise_bed(kind: str, seed: int, duration_s: float) -> np.ndarray:
    """Return the sound over a whole clip with RMS 1, for a background. Countable kinds go on stroke after stroke."""
    _check(kind)
    spacing = _SPACING.get(kind)
    count = 1 if spacing is None else 1 + max(0, int((duration_s - spacing.tail_s) / (1.3 * spacing.least_s)))
    bed_N = synthesise(SoundEvent(kind=kind, start_s=0.0, end_s=duration_s, level_db=-20.0, count=count, seed=seed))
    return np.asarray(bed_N / (np.sqrt(np.mean(bed_N**2)) + 1e-12))
