"""How each kind of sound is made: struck ones as makers of one stroke, lasting ones as beds of a given length.

The seed's generator draws what stays the same within one event (the bell's pitch, the dog's size); the generator
given per stroke draws what differs from stroke to stroke. Sources: Fletcher & Rossing (bell partials, struck bars),
Cook, Real Sound Synthesis (modal and particle models of knocks, steps, applause), Farnell, Designing Sound (rain,
wind, siren, engine, alarm).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unifusion.world.signal import RATE_HZ, band, shape_spectrum, shaped_noise

__all__ = ["BEDS", "STROKES"]

Rng = np.random.Generator
Stroke = Callable[[Rng], np.ndarray]


def _time(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * RATE_HZ)) / RATE_HZ


def _modes(time_s: np.ndarray, hz: np.ndarray, amplitude: np.ndarray, decay_s: np.ndarray) -> np.ndarray:
    """Sum of damped sines: modal synthesis of a struck body."""
    waves = amplitude[:, None] * np.exp(-time_s / decay_s[:, None]) * np.sin(2 * np.pi * hz[:, None] * time_s)
    return np.asarray(waves.sum(0))


def _bell(rng: Rng) -> Stroke:
    """Hum, prime, tierce, quint, nominal and upper partials of a church bell; the low ones ring longest."""
    prime_hz = rng.uniform(420, 900)
    ratio = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.67, 3.0, 4.1]) * rng.uniform(0.99, 1.01, 8)
    amplitude = np.array([0.5, 1.0, 0.8, 0.4, 1.0, 0.5, 0.35, 0.25]) * rng.uniform(0.6, 1.2, 8)
    decay_s = rng.uniform(0.25, 0.4) / np.sqrt(ratio)
    sound_N = _modes(_time(1.2), prime_hz * ratio, amplitude, decay_s)
    return lambda _: sound_N


def _knock(rng: Rng) -> Stroke:
    """Knuckles on a wooden door: few low, quickly damped modes and a click."""
    hz = np.array([1.0, 1.7, 2.6, 4.1]) * rng.uniform(130, 210)
    decay_s = rng.uniform(0.018, 0.03) / np.array([1.0, 1.2, 1.6, 2.2])
    time_s = _time(0.15)

    def strike(again: Rng) -> np.ndarray:
        """One stroke: a click and four partials."""
        amplitude = np.array([1.0, 0.8, 0.5, 0.3]) * again.uniform(0.8, 1.2, 4)
        click_N = shaped_noise(len(time_s), again, band(800, 3000)) * np.exp(-time_s / 0.003)
        return _modes(time_s, hz, amplitude, decay_s) + 0.35 * click_N

    return strike


def _step(rng: Rng) -> Stroke:
    """A heel and then a sole on gravel: a soft low thump, a crunch of noise, a second softer crunch."""
    thump_hz, gap_s, bright_hz = rng.uniform(60, 90), rng.uniform(0.07, 0.1), rng.uniform(3500, 5500)
    time_s = _time(0.25)

    def tread(again: Rng) -> np.ndarray:
        """One step: a heel and some grit."""
        grit_N = shaped_noise(len(time_s), again, band(1200, bright_hz)) * (again.random(len(time_s)) < 0.4)
        heel = np.exp(-time_s / 0.022) * np.minimum(1, time_s / 0.004)
        sole = np.where(time_s > gap_s, np.exp(-(time_s - gap_s) / 0.035), 0.0)
        thump_N = np.sin(2 * np.pi * thump_hz * time_s) * np.exp(-time_s / 0.03)
        return 0.9 * thump_N + grit_N * (0.6 * heel + 0.4 * sole)

    return tread


def _chirp(rng: Rng) -> Stroke:
    """One bird's note: a fast sweep of a nearly pure tone between 2.5 and 6 kHz, its shape kept from note to note."""
    base_hz, depth_hz, turns = rng.uniform(3000, 4500), rng.uniform(500, 1300) * rng.choice([-1, 1]), rng.choice([0.5, 1.0, 1.5])
    time_s = _time(rng.uniform(0.12, 0.18))

    def note(again: Rng) -> np.ndarray:
        """One chirp of a bird."""
        place = time_s / time_s[-1]
        hz = base_hz * again.uniform(0.98, 1.02) + depth_hz * np.sin(2 * np.pi * turns * place)
        phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
        return np.asarray((np.sin(phase) + 0.08 * np.sin(2 * phase)) * np.sin(np.pi * place) ** 0.7)

    return note


def _bark(rng: Rng) -> Stroke:
    """A dog: a voiced burst whose pitch rises and falls, through two wide formants, with a rough noisy attack."""
    base_hz, first_hz, second_hz = rng.uniform(260, 480), rng.uniform(550, 850), rng.uniform(1300, 1900)
    time_s = _time(rng.uniform(0.15, 0.2))

    def mouth(hz: np.ndarray) -> np.ndarray:
        return 1 / (1 + ((hz - first_hz) / 220) ** 2) + 0.6 / (1 + ((hz - second_hz) / 350) ** 2) + 0.02

    def woof(again: Rng) -> np.ndarray:
        """One bark."""
        place = time_s / time_s[-1]
        hz = base_hz * again.uniform(0.95, 1.05) * (0.75 + 0.55 * np.sin(np.pi * place**0.7))
        phase = np.cumsum(hz) / RATE_HZ
        buzz_N = 2 * (phase % 1) - 1 + 0.5 * again.standard_normal(len(time_s))
        return np.asarray(shape_spectrum(buzz_N, mouth) * np.minimum(1, time_s / 0.012) * np.exp(-3.2 * place))

    return woof


def _alarm(total: int, rng: Rng) -> np.ndarray:
    """An alarm clock: short square-wave beeps of one pitch in even groups."""
    hz, beeps_hz, duty = rng.uniform(1800, 2600), rng.uniform(5.0, 7.0), rng.uniform(0.5, 0.6)
    time_s = np.arange(total) / RATE_HZ
    tone_N = np.sin(2 * np.pi * hz * time_s) + 0.33 * np.sin(6 * np.pi * hz * time_s)
    gate_N = ((time_s * beeps_hz) % 1 < duty).astype(float)
    return tone_N * np.convolve(gate_N, np.full(48, 1 / 48), mode="same")


def _siren(total: int, rng: Rng) -> np.ndarray:
    """A wailing siren: harmonics sweeping smoothly up and down between about 500 and 1400 Hz."""
    low_hz, high_hz, wail_hz = rng.uniform(480, 620), rng.uniform(1150, 1450), rng.uniform(0.6, 1.0)
    time_s = np.arange(total) / RATE_HZ
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * (wail_hz * time_s + rng.uniform(0, 0.3)))
    phase = 2 * np.pi * np.cumsum(low_hz * (high_hz / low_hz) ** sweep) / RATE_HZ
    return np.sin(phase) + 0.5 * np.sin(2 * phase) + 0.3 * np.sin(3 * phase) + 0.1 * np.sin(4 * phase)


def _scatter(total: int, per_second: np.ndarray | float, grain_N: np.ndarray, rng: Rng) -> np.ndarray:
    """Poisson grains of uneven loudness, all of one shape (a particle model)."""
    hits_N = (rng.random(total) < np.asarray(per_second) / RATE_HZ) * rng.uniform(0.3, 1.0, total) * rng.choice([-1.0, 1.0], total)
    size = 1 << int(np.ceil(np.log2(total + len(grain_N))))
    return np.fft.irfft(np.fft.rfft(hits_N, size) * np.fft.rfft(grain_N, size), size)[:total]


def _rain(total: int, rng: Rng) -> np.ndarray:
    """Rain: a bright even hiss with many small drops."""
    hiss_N = shaped_noise(total, rng, band(rng.uniform(1500, 2500), 7500, 1))
    time_s = _time(0.006)
    drop_N = np.sin(2 * np.pi * rng.uniform(3500, 5000) * time_s) * np.exp(-time_s / 0.0012)
    drops_N = _scatter(total, rng.uniform(120, 300), drop_N, rng)
    return np.asarray(hiss_N + 0.6 * drops_N / (np.std(drops_N) + 1e-9))


def _wind(total: int, rng: Rng) -> np.ndarray:
    """Wind: low noise in slow gusts, with a faint whistle that goes up with the gust."""
    time_s = np.arange(total) / RATE_HZ
    slow = np.cos(2 * np.pi * (0.17 * time_s + rng.random()))
    gust = 0.55 + 0.45 * slow * np.sin(2 * np.pi * (rng.uniform(0.25, 0.5) * time_s + rng.random()))
    low_N = shaped_noise(total, rng, band(80, rng.uniform(280, 450), 2))
    whistle_N = shaped_noise(total, rng, band(480, rng.uniform(560, 700), 4))
    return low_N * gust + 0.35 * whistle_N * gust**3


def _applause(total: int, rng: Rng) -> np.ndarray:
    """Applause: dense random claps, each a short burst about 1-2.5 kHz, swelling and ebbing."""
    time_s = np.arange(total) / RATE_HZ
    grain_s = _time(0.03)
    clap_N = shaped_noise(len(grain_s), rng, band(rng.uniform(700, 1000), rng.uniform(1800, 2600), 2)) * np.exp(-grain_s / 0.005)
    crowd = rng.uniform(45, 90) * (0.75 + 0.25 * np.sin(2 * np.pi * (rng.uniform(0.3, 0.6) * time_s + rng.random())))
    return _scatter(total, crowd, clap_N, rng)


def _engine(total: int, rng: Rng) -> np.ndarray:
    """A motor: firing pulses at 28-55 Hz of uneven strength through an exhaust resonance, speed swaying slowly."""
    time_s = np.arange(total) / RATE_HZ
    firing_hz = rng.uniform(28, 55) * (1 + 0.12 * np.sin(2 * np.pi * (rng.uniform(0.2, 0.5) * time_s + rng.random())))
    phase = np.cumsum(firing_hz) / RATE_HZ
    strength = rng.uniform(0.7, 1.3, int(phase[-1]) + 2)[phase.astype(int)] if total else np.zeros(0)
    pulse_N = strength * np.exp(-7 * (phase % 1)) - 0.14
    exhaust_hz = rng.uniform(110, 190)

    def exhaust(hz: np.ndarray) -> np.ndarray:
        return 1 / (1 + ((hz - exhaust_hz) / 90) ** 2) + 0.12 / (1 + (hz / 900) ** 4)

    return shape_spectrum(pulse_N + 0.08 * rng.standard_normal(total), exhaust)


def _chord(third: float, total: int, rng: Rng) -> np.ndarray:
    """A triad on an organ-like tone; the third alone tells major from minor. Tempered tuning, root A2 to A3 plus an octave."""
    root_hz = 220 * 2 ** (rng.integers(-3, 9) / 12)
    time_s = np.arange(total) / RATE_HZ
    weights = np.array([1.0, 0.5, 0.25, 0.12]) * rng.uniform(0.7, 1.2, 4)
    result = np.zeros(total)
    for semitone in (0.0, third, 7.0):
        hz = root_hz * 2 ** (semitone / 12)
        for k, weight in enumerate(weights, start=1):
            result += weight * np.sin(2 * np.pi * (k * hz * time_s + rng.random()))
    return result * np.minimum(1, time_s / 0.03) * np.exp(-time_s / rng.uniform(1.5, 3.0))


STROKES: dict[str, Callable[[Rng], Stroke]] = {"bell": _bell, "knocking": _knock, "footsteps": _step, "bird": _chirp, "bark": _bark}
"""Countable kinds: a maker of strokes from the event's generator."""

BEDS: dict[str, Callable[[int, Rng], np.ndarray]] = {
    "alarm": _alarm,
    "siren": _siren,
    "rain": _rain,
    "wind": _wind,
    "applause": _applause,
    "engine": _engine,
    "chord major": lambda total, rng: _chord(4.0, total, rng),
    "chord minor": lambda total, rng: _chord(3.0, total, rng),
}
"""Lasting kinds: samples in number, generator -> waveform."""
