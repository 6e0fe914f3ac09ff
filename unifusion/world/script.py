"""The script of a clip: every event with its stream, start, end and attributes, as plain data.

A script is made from (seed, index) alone (`sample.py`), drawn by `picture.py`, sounded by `sound.py` (which fills in
the word times), asked about by `questions.py`, and written as JSON. Times are seconds from the clip's start.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = [
    "COLOURS",
    "DIRECTIONS",
    "EMOTIONS",
    "LANGUAGES",
    "SHAPES",
    "SIZES",
    "SOUNDS",
    "Background",
    "Expression",
    "Identity",
    "ObjectTrack",
    "Script",
    "Sign",
    "SoundEvent",
    "Split",
    "Utterance",
    "Voice",
    "Word",
]

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "surprise", "disgust", "contempt")
"""Expressions of the face. Voices use the first seven: no published prosody rule for contempt is used here."""
SHAPES = ("circle", "square", "triangle", "star", "diamond")
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "white", "black")
SIZES = ("small", "medium", "large")
DIRECTIONS = ("left", "right", "up", "down", "circle", "bounce", "still")
SOUNDS = (
    "bell", "alarm", "siren", "knocking", "footsteps", "rain", "wind", "applause", "engine", "bird", "bark", "chord major", "chord minor",
)  # fmt: skip
"""Twelve kinds; the chord comes as major or minor."""
LANGUAGES = {"english": "en-us", "german": "de", "spanish": "es", "french": "fr-fr"}
"""Language name -> espeak-ng voice."""
Split = Literal["train", "val", "test_iid", "test_new_people", "test_new_combinations"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A face's lasting looks; every field is drawn from the identity's own seed, ranges are in the world file."""

    seed: int
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    hair_style: str
    face_width: float
    face_height: float
    eye_spacing: float
    glasses: bool
    beard: bool


@dataclass(frozen=True, kw_only=True)
class Expression:
    """One expression with its action units (Ekman's prototypes); between expressions the face is neutral.

    Intensity rises from 0 at `start_s` to its peak at `apex_s`, holds to `offset_s`, falls to 0 at `end_s`.
    """

    emotion: str
    intensity: float
    start_s: float
    apex_s: float
    offset_s: float
    end_s: float
    action_units: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A speaker: espeak-ng variant and base settings. `register` is what a person would say: high or low."""

    seed: int
    variant: str
    base_pitch: int
    base_rate_wpm: int
    register: Literal["high", "low"]


@dataclass(frozen=True, kw_only=True)
class Word:
    """One spoken word and when."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What is said, by whom, how. `end_s` and `words` are known once `sound.py` has spoken it."""

    voice: Voice
    language: str
    text: str
    meaning: str
    """Emotion that the words themselves carry (neutral, happy, sad ..)."""
    emotion: str
    """Emotion of the prosody."""
    intensity: float
    tempo: Literal["fast", "normal", "slow"]
    start_s: float
    level_db: float = -20.0
    end_s: float = 0.0
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SoundEvent:
    """A sound of one of the kinds. `count` is the number of strokes where that can be counted (knocks, barks, bells)."""

    kind: str
    start_s: float
    end_s: float
    level_db: float
    count: int = 1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Background:
    """A bed of sound under the whole clip at a signal-to-noise ratio against the rest."""

    kind: str
    snr_db: float
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ObjectTrack:
    """A coloured shape: where it starts (fractions of the picture), how it moves, when it is there."""

    shape: str
    colour: str
    size: str
    direction: str
    start_s: float
    end_s: float
    x: float
    y: float
    speed: float
    """Fractions of the picture's width per second."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A digit or a word on a sign."""

    text: str
    start_s: float
    end_s: float
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Script:
    """Everything that happens in one clip."""

    seed: int
    index: int
    split: Split
    duration_s: float = 6.0
    rate_hz: float = 25.0
    size_px: int = 112
    background_rgb: tuple[int, int, int] = (128, 128, 128)
    identity: Identity | None = None
    """None: nobody is in the picture."""
    expressions: tuple[Expression, ...] = ()
    utterance: Utterance | None = None
    sounds: tuple[SoundEvent, ...] = ()
    background: Background | None = None
    objects: tuple[ObjectTrack, ...] = ()
    sign: Sign | None = None
    has_picture: bool = True
    has_sound: bool = True
    agreement: str = ""
    """"agree" or "conflict" between face and voice; empty when one of them is missing."""
    profile: dict[str, Any] = field(default_factory=dict)
    """Speaker's age, gender, timbre, personality; the talk's topic, scenario, cause, goal, turn."""

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives an equal script."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Script:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        raw["background_rgb"] = tuple(raw["background_rgb"])
        if raw["identity"]:
            look = raw["identity"]
            raw["identity"] = Identity(**{**look, "skin": tuple(look["skin"]), "hair": tuple(look["hair"])})
        raw["expressions"] = tuple(Expression(**{**e, "action_units": tuple(e["action_units"])}) for e in raw["expressions"])
        if raw["utterance"]:
            said = raw["utterance"]
            raw["utterance"] = Utterance(**{**said, "voice": Voice(**said["voice"]), "words": tuple(Word(**w) for w in said["words"])})
        raw["sounds"] = tuple(SoundEvent(**s) for s in raw["sounds"])
        raw["background"] = Background(**raw["background"]) if raw["background"] else None
        raw["objects"] = tuple(ObjectTrack(**o) for o in raw["objects"])
        raw["sign"] = Sign(**raw["sign"]) if raw["sign"] else None
        return cls(**raw)
