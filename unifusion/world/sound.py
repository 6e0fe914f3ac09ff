"""The sound of a script: voice, events and background at their times and levels, 16 kHz mono.

`render_sound` is a pure function of the script, equal to the bit in every call and process; samples lie on the
16-bit grid, so a 16-bit file holds them without loss. Levels are active levels (`signal.active_level_db`: RMS over
the frames that sound) in dB re full scale.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np

from unifusion.errors import ConfigError
from unifusion.world.acoustics import acoustic_features
from unifusion.world.effects import synthesise, synthesise_bed
from unifusion.world.prosody import prosody_of, rate_wpm
from unifusion.world.script import Script, Utterance, Word
from unifusion.world.signal import RATE_HZ, active_level_db, fade, frame_levels_db, limit, to_level, warp
from unifusion.world.voice import Spoken, pitch_setting, speak
from unifusion.world.voice_quality import colour, speed_curve

__all__ = [
    "RATE_HZ",
    "acoustic_features",
    "acoustic_truth",
    "estimate_seconds",
    "fit_utterance",
    "mouth_opening",
    "render_sound",
    "speak_utterance",
    "spoken_level_db",
    "stems",
    "voice_track",
]

QUIET_REFERENCE_DB = -20.0
"""What a background's SNR counts against when nothing else sounds."""
EARLIEST_START_S = 0.1
END_MARGIN_S = 0.05
REFERENCE_WPM = 160


def spoken_level_db(utterance: Utterance) -> float:
    """Return the active level at which the utterance sounds: its own, moved by its emotion (anger +6 dB, sadness -6 dB)."""
    return utterance.level_db + prosody_of(utterance.emotion, utterance.intensity).level_db


def speak_utterance(utterance: Utterance) -> Spoken:
    """Return the utterance's samples (from its first sound to its last) and its words, timed from the first sample.

    Raises:
        ConfigError: unknown speaker, language or emotion, or the extra `world` is not installed.
    """
    return _speak_utterance(replace(utterance, start_s=0.0, end_s=0.0, words=(), meaning=""))


@lru_cache(maxsize=64)
def _speak_utterance(utterance: Utterance) -> Spoken:
    """Speak, then apply the cues that espeak-ng has no parameter for, then set the level."""
    voice, cues = utterance.voice, prosody_of(utterance.emotion, utterance.intensity)
    rng = np.random.default_rng([voice.seed % 2**63, zlib.crc32(f"{utterance.text}|{utterance.emotion}".encode())])
    formant_shift = float(np.random.default_rng([voice.seed % 2**63, 77]).uniform(-0.03, 0.03))
    speed = (1 + formant_shift) * (1 + cues.smile)
    pitch = pitch_setting((voice.base_pitch - 50) * 12 / 50 + cues.pitch_st - 12 * float(np.log2(speed)))
    span = int(np.clip(round(50 * (1 + cues.span)), 0, 99))
    rate = max(80, round(rate_wpm(utterance) / speed))
    plain = speak(utterance.text, utterance.language, voice.variant, pitch, span, rate, contour=cues.contour)
    waveform_N, old_times_N = warp(plain.waveform_N, speed_curve(len(plain.waveform_N), formant_shift, cues, rng))
    waveform_N = to_level(fade(colour(waveform_N, cues, rng), 0.004, 0.015), spoken_level_db(utterance)).astype(np.float32)
    waveform_N.setflags(write=False)
    new_times_N = np.arange(len(old_times_N)) / RATE_HZ

    def moved(time_s: float) -> float:
        return round(float(np.interp(time_s, old_times_N, new_times_N)), 4)

    return Spoken(waveform_N, tuple(Word(text=w.text, start_s=moved(w.start_s), end_s=moved(w.end_s)) for w in plain.words))


@lru_cache(maxsize=4096)
def _reference_seconds(text: str, language: str) -> float:
    """How long the sentence lasts at 160 words per minute; the same for all speakers."""
    return len(speak(text, language, "low01", 50, 50, REFERENCE_WPM).waveform_N) / RATE_HZ


def estimate_seconds(utterance: Utterance) -> float:
    """Return the utterance's length within about 5 %, without speaking it (a sentence is spoken once, then remembered)."""
    return _reference_seconds(utterance.text, utterance.language) * REFERENCE_WPM / rate_wpm(utterance)


def _seconds(utterance: Utterance) -> float:
    return len(speak_utterance(utterance).waveform_N) / RATE_HZ


def fit_utterance(utterance: Utterance, duration_s: float) -> Utterance:
    """Return the utterance so that it ends within the clip; no word is ever cut.

    In this order: start earlier (not before 0.1 s), speak up to 10 % faster, take the next faster tempo (so the label
    stays what is heard), and at the fastest tempo up to 60 % faster.

    Raises:
        ConfigError: the sentence is too long for the clip at any of these.
    """
    if utterance.start_s + 1.08 * estimate_seconds(utterance) + END_MARGIN_S <= duration_s:
        return utterance
    tempi: tuple[Literal["slow", "normal", "fast"], ...] = ("slow", "normal", "fast")
    for tempo in tempi[tempi.index(utterance.tempo) :]:
        for boost in (1.0, 1.05, 1.1) if tempo != "fast" else (1.0, 1.1, 1.2, 1.4, 1.6):
            faster = replace(utterance.voice, base_rate_wpm=round(utterance.voice.base_rate_wpm * boost))
            candidate = replace(utterance, tempo=tempo, voice=faster)
            latest_s = duration_s - END_MARGIN_S - _seconds(candidate)
            if latest_s >= EARLIEST_START_S:
                return replace(candidate, start_s=min(utterance.start_s, float(np.floor(latest_s * 1000) / 1000)))
    found = f"{utterance.text!r} lasts {_seconds(candidate):.1f} s even when spoken fast;"
    raise ConfigError(found, remedy=f"take a shorter sentence for {duration_s} s.")


def _placed(total: int, sound_N: np.ndarray, start_s: float) -> np.ndarray:
    """The sound on a silent clip; what would lie past the clip's end is faded out there."""
    first = max(0, round(start_s * RATE_HZ))
    part_N = sound_N[: max(0, total - first)]
    if len(part_N) < len(sound_N):
        part_N = fade(part_N, 0.0, 0.02)
    track_N = np.zeros(total)
    track_N[first : first + len(part_N)] = part_N
    return track_N


def _samples(script: Script) -> int:
    return round(script.duration_s * RATE_HZ)


def _voiced(script: Script) -> tuple[np.ndarray, Utterance | None]:
    """The voice's track (float64) and the utterance with its end and words in the clip's time."""
    said = script.utterance
    if said is None:
        return np.zeros(_samples(script)), None
    spoken = speak_utterance(said)
    end_s = said.start_s + len(spoken.waveform_N) / RATE_HZ
    if end_s > script.duration_s + 1e-6 or said.start_s < 0:
        remedy = "call fit_utterance(utterance, duration_s) before the script is rendered."
        found = f"{said.text!r} is spoken from {said.start_s:.2f} to {end_s:.2f} s in a clip of {script.duration_s} s;"
        raise ConfigError(found, remedy=remedy)
    words = tuple(
        Word(text=w.text, start_s=round(said.start_s + w.start_s, 4), end_s=round(said.start_s + w.end_s, 4)) for w in spoken.words
    )
    return _placed(_samples(script), spoken.waveform_N, said.start_s), replace(said, end_s=round(end_s, 4), words=words)


def voice_track(script: Script) -> np.ndarray:
    """Return waveform_N float32 of the voice alone over the clip (zeros where nobody speaks), also when `has_sound` is False."""
    return _voiced(script)[0].astype(np.float32)


def stems(script: Script) -> dict[str, np.ndarray]:
    """Return the tracks `voice`, `sounds` and `background` before mixing, float64 over the whole clip."""
    total = _samples(script)
    sounds_N = np.zeros(total)
    for event in script.sounds:
        sounds_N += _placed(total, synthesise(event), event.start_s)
    voice_N = _voiced(script)[0]
    background_N = np.zeros(total)
    if script.background is not None:
        rest_N = voice_N + sounds_N
        reference_db = active_level_db(rest_N) if np.any(rest_N) else QUIET_REFERENCE_DB
        bed_N = synthesise_bed(script.background.kind, script.background.seed, script.duration_s)
        background_N[: len(bed_N)] = bed_N * 10 ** ((reference_db - script.background.snr_db) / 20)
    return {"voice": voice_N, "sounds": sounds_N, "background": background_N}


def render_sound(script: Script) -> tuple[np.ndarray, Script]:
    """Return (waveform_N float32 at 16 kHz in (-1, 1), the script with the utterance's end and words filled in).

    A script without sound gives an empty array and comes back as it is.

    Raises:
        ConfigError: the utterance does not fit the clip, or an event names an unknown kind or too many strokes.
    """
    if not script.has_sound:
        return np.zeros(0, dtype=np.float32), script
    tracks = stems(script)
    mixed_N = limit(tracks["voice"] + tracks["sounds"] + tracks["background"])
    waveform_N = (np.round(mixed_N * 32768) / 32768).astype(np.float32)
    return waveform_N, replace(script, utterance=_voiced(script)[1])


def mouth_opening(voice_N: np.ndarray, times_s: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return how far the mouth is open (0-1, float64) at each time, from the energy of the voice alone.

    Args:
        voice_N: the voice's track over the clip (`voice_track`), not the mix: a bell does not open a mouth.
        times_s: seconds from the clip's start, any order.
    """
    times = np.asarray(times_s, dtype=np.float64)
    if len(voice_N) == 0 or not np.any(voice_N):
        return np.zeros(len(times))
    levels = frame_levels_db(voice_N)
    open_F = np.clip((levels - active_level_db(voice_N) + 20) / 24, 0, 1)
    open_F = np.convolve(open_F, np.array([0.25, 0.5, 0.25]), mode="same")
    centres_s = (np.arange(len(levels)) + 0.5) * 0.02
    return np.interp(times, centres_s, open_F, left=0.0, right=0.0)


def acoustic_truth(utterance: Utterance, waveform_N: np.ndarray) -> dict[str, float]:
    """Return what can be measured in an utterance whose text is known: `acoustic_features` and two more.

    `rate` is the speaking rate against 160 words per minute for the same sentence (its length there over its length here);
    `level_db` is the active level. `waveform_N` is the voice alone, as from `speak_utterance`.
    """
    features = acoustic_features(waveform_N)
    spoken_s = max(features["speech_s"], 1e-3)
    return {**features, "rate": _reference_seconds(utterance.text, utterance.language) / spoken_s, "level_db": active_level_db(waveform_N)}
