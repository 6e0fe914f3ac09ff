"""Utterances that the tests of voice and sound share."""

from __future__ import annotations

from unifusion.world.script import Script, Utterance, Voice
from unifusion.world.speakers import SPEAKERS

SENTENCES = {
    "english": "The meeting starts at nine, and the door of the house is open.",
    "german": "Der Zug kommt um neun, und das Fenster ist offen.",
    "spanish": "El tren llega a las nueve, y la puerta está abierta.",
    "french": "Le train arrive demain, et la porte est ouverte.",
}


def utterance(**changes):
    """A neutral English utterance by low01; `variant`, `voice_seed`, `base_rate_wpm` reach the voice, the rest the utterance."""
    variant = changes.pop("variant", "low01")
    voice = Voice(
        seed=changes.pop("voice_seed", 3),
        variant=variant,
        base_pitch=changes.pop("base_pitch", 50),
        base_rate_wpm=changes.pop("base_rate_wpm", 165),
        register=SPEAKERS[variant].register,
    )
    plain = {
        "language": "english", "text": "The meeting starts at nine.", "meaning": "neutral", "emotion": "neutral",
        "intensity": 1.0, "tempo": "normal", "start_s": 0.5,
    }  # fmt: skip
    return Utterance(voice=voice, **{**plain, **changes})


def script(**changes):
    """A clip of 6 s with nothing in it but what is given."""
    return Script(**{"seed": 1, "index": 2, "split": "train", **changes})
