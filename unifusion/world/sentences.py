"""Draws what is said: voice, language, sentence with its meaning, tempo and start, so that it fits into the clip."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

from unifusion.world.draw import Draw
from unifusion.world.prosody import rate_wpm
from unifusion.world.scenes import grid_time, pool
from unifusion.world.script import Split, Utterance, Voice
from unifusion.world.world_file import ranges

__all__ = ["draw_utterance", "estimate_s", "meaning_of", "voice_of"]


@lru_cache(maxsize=512)
def voice_of(number: int, held_out: bool = False) -> Voice:
    """Return the voice with this id: even ids are high, odd ids are low; held-out ones use their own espeak-ng variants."""
    draw, world = Draw("voice", number), ranges()["voice"]
    register = "low" if number % 2 else "high"
    variants = world["variants"]["held_out" if held_out else "train"][register]
    low, high = world["base_pitch"][register]
    slow, fast = world["base_rate_wpm"]
    return Voice(
        seed=number,
        variant=variants[number // 2 % len(variants)],
        base_pitch=low + draw.integer("pitch", high - low + 1),
        base_rate_wpm=slow + draw.integer("rate", fast - slow + 1),
        register="low" if number % 2 else "high",
    )


def estimate_s(utterance: Utterance) -> float:
    """Return an upper bound of how long the utterance lasts, in seconds, without speaking it."""
    world = ranges()["voice"]["estimate"]
    reference_s = (world["base_s"] + world["char_s"] * len(utterance.text)) * world["margin"]
    return float(reference_s * 160 / rate_wpm(utterance))


def draw_utterance(draw: Draw, split: Split, emotion: str, duration_s: float) -> Utterance | None:
    """Return what is said, or None where the clip is too short for any sentence of the drawn language and meaning."""
    world = ranges()
    held_out = pool(split, "people") == "held_out"
    voices = world["voices"]["held_out" if held_out else "train"]
    language = list(world["language_weights"])[draw.weighted("language", list(world["language_weights"].values()))]
    meaning = list(world["meaning_weights"])[draw.weighted("meaning", list(world["meaning_weights"].values()))]
    word, lead = draw.pick("word", world["words"]), world["voice"]["lead_s"]
    silent = Utterance(
        voice=voice_of(voices[0] + draw.integer("voice", voices[1] - voices[0]), held_out),
        language=language, text="", meaning=meaning, emotion=emotion, tempo=draw.pick("tempo", world["tempos"]), start_s=0.0,
        intensity=draw.uniform("voice_intensity", *world["voice"]["intensity"]),
        level_db=draw.uniform("voice_level", *world["voice"]["level_db"]),
    )  # fmt: skip
    sentences = world["sentences"][language][meaning][pool(split, "combinations")]
    candidates = [replace(silent, text=s.format(w=word)) for s in sentences]
    fitting = [c for c in candidates if estimate_s(c) <= min(duration_s - lead, world["voice"]["max_s"])]
    if not fitting:
        return None
    said = draw.pick("sentence", fitting)
    last = duration_s - max(estimate_s(said), world["voice"]["start_room_s"]) - lead
    return replace(said, start_s=grid_time(draw, "voice_start", 0.5, last) if last >= 0.5 else 0.1)


@lru_cache(maxsize=1)
def _meanings() -> dict[str, str]:
    """Sentence, with the word left open -> its meaning."""
    every = ranges()["sentences"].values()
    return {s: meaning for language in every for meaning, pools in language.items() for part in pools.values() for s in part}


def meaning_of(text: str) -> str:
    """Return the meaning of a sentence of the world file, or an empty string for any other text."""
    known = _meanings()
    for word in ("", *ranges()["words"]):
        bare = re.sub(rf"\b{word}\b", "{w}", text) if word else text
        if bare in known:
            return known[bare]
    return ""
