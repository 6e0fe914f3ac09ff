"""Clips of clip world as actors' takes: the same sentences in each emotion, as CREMA-D and RAVDESS have them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from unifusion.errors import ConfigError
from unifusion.world.dialogues import Part, act, cast, person
from unifusion.world.draw import Draw
from unifusion.world.script import Script
from unifusion.world.talks import Profile

__all__ = ["Acted", "acted_crema_d", "acted_ravdess"]

_CREMA_ACTORS = 91
_CREMA_SENTENCES = {
    "IEO": "It's eleven o'clock", "TIE": "That is exactly what happened", "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about", "TAI": "The airplane is almost full", "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock", "ITH": "I think I have a doctor's appointment", "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before", "TSI": "The surface is slick", "WSI": "We'll stop in a couple of minutes",
}  # fmt: skip
_CREMA_EMOTIONS = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
_LETTERS = {emotion: code[0] for code, emotion in _CREMA_EMOTIONS.items()}
_RAVDESS_EMOTIONS = {"01": "neutral", "03": "happy", "04": "sad", "05": "angry", "06": "fear", "07": "disgust", "08": "surprise"}
_RAVDESS_SENTENCES = {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"}
_RAVDESS_ACTORS = 24
T = TypeVar("T")
_STEP = 7919
"""A prime: takes come in an order that mixes actors, sentences and emotions and still meets each once."""


@dataclass(frozen=True, kw_only=True)
class Acted:
    """One take.

    Attributes:
        name: as the set names it, without what stands before and after.
        who: acts.
        script: its clip.
        votes: of voice, face and both: letter of the emotion, level from 0 to 100.
    """

    name: str
    who: Profile
    script: Script
    votes: tuple[tuple[str, float], ...] = ()


def acted_crema_d(seed: int, index: int, duration_s: float, size_px: int) -> Acted:
    """Return the take of CREMA-D with this number, of 91 x 12 x 6; in a fifth of them face or voice is taken for neutral.

    Raises:
        ConfigError: there is no such take, or it does not fit into the clip.
    """
    takes = list(product(range(_CREMA_ACTORS), _CREMA_SENTENCES, _CREMA_EMOTIONS))
    actor, sentence, code = _of(takes, index)
    number, draw = 1001 + actor, Draw("crema_d", seed, index)
    part: Part = "train" if number <= 1063 else "val" if number <= 1077 else "test"
    who = person(part, cast(part)[actor])
    emotion = _CREMA_EMOTIONS[code]
    tells = dict.fromkeys(("face", "voice"), emotion) | {"words": "neutral"}
    if draw.chance("weak", 0.2):
        tells[draw.pick("which", ("face", "voice"))] = "neutral"
    text = _CREMA_SENTENCES[sentence]
    script = act(draw, 0, who, tells, text, place=(seed, index), duration_s=duration_s, size_px=size_px)
    level = "XX" if emotion == "neutral" else ("LO", "MD", "HI")[draw.integer("level", 3)]
    told = [tells["voice"], tells["face"], emotion]
    votes = tuple((_LETTERS[e], round(draw.uniform(f"vote{k}", 45.0, 90.0), 2)) for k, e in enumerate(told))
    return Acted(name=f"{number}_{sentence}_{code}_{level}", who=who.profile, script=script, votes=votes)


def acted_ravdess(seed: int, index: int, duration_s: float, size_px: int) -> Acted:
    """Return the take of RAVDESS with this number: seven emotions (calm is none of the world's), two statements, 24 actors.

    Raises:
        ConfigError: there is no such take, or it does not fit into the clip.
    """
    takes = list(product(range(1, _RAVDESS_ACTORS + 1), _RAVDESS_EMOTIONS, _RAVDESS_SENTENCES))
    actor, code, statement = _of(takes, index)
    draw = Draw("ravdess", seed, index)
    part: Part = "train" if actor <= 16 else "val" if actor <= 18 else "test"
    who = person(part, cast(part)[actor], "low" if actor % 2 else "high")
    emotion = _RAVDESS_EMOTIONS[code]
    tells = dict.fromkeys(("face", "voice"), emotion) | {"words": "neutral"}
    script = act(draw, 0, who, tells, _RAVDESS_SENTENCES[statement], place=(seed, index), duration_s=duration_s, size_px=size_px)
    return Acted(name=f"01-{code}-01-{statement}-01-{actor:02}", who=who.profile, script=script)


def _of(takes: list[T], index: int) -> T:
    """The take with this number in a mixed order."""
    if not 0 <= index < len(takes):
        raise ConfigError(f"take {index};", remedy=f"the set has {len(takes)} takes.")
    return takes[index * _STEP % len(takes)]
