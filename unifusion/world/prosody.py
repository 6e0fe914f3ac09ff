"""How each emotion sounds: a table of published cues, and what they do to one speaker's voice.

Sources of the cues, named in each row below:
JL  Juslin & Laukka (2003), Communication of emotions in vocal expression and music performance, tables 7 and 11
    (anger, fear, happiness, sadness).
MA  Murray & Arnott (1993), Toward the simulation of emotion in synthetic speech, table 1 (also disgust).
BS  Banse & Scherer (1996), Acoustic profiles in vocal emotion expression (disgust, long-term spectra).
T   Tartter (1980), Happy talk: smiling shortens the vocal tract and raises the formants.
S   Scherer & Oshinsky (1977), cue utilisation in emotion attribution: surprise is a rising contour with a fast start.

Every number is the distance from the neutral voice at intensity 1 and shrinks with `Utterance.intensity`. The distances
are kept smaller than those between a high and a low voice (about 13 semitones) and between tempi (fast x1.48, slow
x0.66), so "is the voice high or low, fast or slow" keeps its answer under every emotion.
"""

from __future__ import annotations

from dataclasses import dataclass

from unifusion.errors import ConfigError, nearest
from unifusion.world.script import Utterance
from unifusion.world.voice import Contour

__all__ = ["PROSODY", "TEMPO", "Prosody", "prosody_of", "rate_wpm", "words_for"]


@dataclass(frozen=True, kw_only=True)
class Prosody:
    """Distances from a neutral voice. All zeros: neutral."""

    pitch_st: float = 0.0
    """Semitones of the whole F0 curve."""
    span: float = 0.0
    """F0 range: 1.0 doubles it, -1.0 makes it monotone."""
    rate: float = 0.0
    """Speech rate: 0.1 is 10 % faster."""
    level_db: float = 0.0
    """Loudness against `Utterance.level_db`."""
    tilt_db: float = 0.0
    """High-frequency energy: a shelf from 800 Hz up to 3.2 kHz."""
    contour: Contour = ()
    """Semitones over the sentence."""
    smile: float = 0.0
    """Formants raised by this share, F0 kept."""
    lilt: float = 0.0
    """Depth of a regular rise and fall of F0 at 2.6 Hz, a sing-song."""
    tremor: float = 0.0
    """Depth of a 7 Hz modulation of F0 and amplitude."""
    breath: float = 0.0
    """Aspiration noise against the voice (amplitude)."""
    rasp: float = 0.0
    """Soft clipping and cycle-to-cycle jitter."""
    creak: float = 0.0
    """Depth of irregular pulses at 24-34 Hz, as in creaky voice."""


PROSODY: dict[str, Prosody] = {
    "neutral": Prosody(),
    # JL: fast, medium-high intensity, medium HF energy, high F0, much variability, rising, regular.
    # MA: much higher, much wider, smooth upward inflections. T: smile.
    "happy": Prosody(
        pitch_st=2.0,
        span=0.9,
        rate=0.08,
        level_db=3.0,
        tilt_db=6.0,
        smile=0.08,
        lilt=1.0,
        contour=((0, -3.0), (0.35, 4.5), (0.65, -2.0), (1, 3.0)),
    ),
    # JL: slow, low intensity, little HF energy, low F0, little variability, falling. MA: lower, narrower, downward, resonant.
    "sad": Prosody(pitch_st=-1.5, span=-0.7, rate=-0.10, level_db=-6.0, tilt_db=-12.0, breath=0.2, contour=((0, 1.0), (1, -2.0))),
    # JL: fast, high intensity, much HF energy, high F0, much variability, fast onsets, irregular. MA: abrupt, breathy chest tone.
    "angry": Prosody(pitch_st=2.5, span=0.9, rate=0.08, level_db=6.0, tilt_db=8.0, rasp=1.0, contour=((0, 1.5), (0.5, 0.5), (1, -2.0))),
    # JL: fast, high F0, little variability, rising, much irregularity, low intensity unless panic. MA: irregular voicing.
    # A narrow range alone lowers espeak's mean F0 by 2 semitones, which pitch_st makes up for.
    "fear": Prosody(pitch_st=5.5, span=-0.7, rate=0.10, level_db=-2.0, tilt_db=-2.0, tremor=1.0),
    # S: rising contour, wide, bright. Rises by 12 semitones, most of it in the second half.
    "surprise": Prosody(pitch_st=0.5, span=0.2, level_db=2.0, tilt_db=2.0, contour=((0, -2.5), (0.4, -1.0), (1, 10.0))),
    # MA: very much slower and lower, grumbled chest tone, wide downward terminal inflections. BS: low intensity.
    "disgust": Prosody(
        pitch_st=-2.0, span=0.1, rate=-0.10, level_db=-2.0, tilt_db=-3.0, creak=1.2, contour=((0, 1.5), (0.5, 0.0), (1, -5.0))
    ),
}
"""Emotion of the voice -> its cues at intensity 1."""

TEMPO = {"fast": 1.48, "normal": 1.0, "slow": 0.66}
"""Factor on the speaker's own rate."""

WORDS: dict[str, str] = {
    "neutral": "even voice",
    "happy": "bright, lively voice with a wide pitch range",
    "sad": "soft, slow, low voice without brightness",
    "angry": "loud, harsh voice",
    "fear": "high, trembling voice",
    "surprise": "voice that rises at the end",
    "disgust": "slow, low, creaky voice",
}
"""The same cues in plain words, for rationales."""


def prosody_of(emotion: str, intensity: float) -> Prosody:
    """Return the cues of one emotion at an intensity (0 is neutral, 1 the whole distance).

    Raises:
        ConfigError: voices have no rule for this emotion (contempt has none), or the intensity is outside 0..1.
    """
    if emotion not in PROSODY:
        raise ConfigError(f"no prosody for {emotion!r};", remedy=nearest(emotion, list(PROSODY)))
    if not 0.0 <= intensity <= 1.0:
        raise ConfigError(f"intensity {intensity} of a voice;", remedy="give a number from 0 to 1.")
    whole = PROSODY[emotion]
    scaled = {name: value * intensity for name, value in vars(whole).items() if name != "contour"}
    return Prosody(**scaled, contour=tuple((place, shift * intensity) for place, shift in whole.contour))


def rate_wpm(utterance: Utterance) -> int:
    """Return espeak's rate: the speaker's own, times tempo, times the emotion's."""
    factor = TEMPO[utterance.tempo] * (1 + prosody_of(utterance.emotion, utterance.intensity).rate)
    return round(min(450.0, max(80.0, utterance.voice.base_rate_wpm * factor)))


def words_for(emotion: str) -> str:
    """Return the emotion's cues in plain words, as evidence for a rationale."""
    prosody_of(emotion, 1.0)
    return WORDS[emotion]
