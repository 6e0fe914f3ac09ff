"""Sentences of many clips cut out and set close together: the same seconds hold three times the speech."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from unifusion.errors import DatasetError
from unifusion.training.clip_cache import ClipCache
from unifusion.world.script import Script, Utterance

__all__ = ["Sentences", "shifted"]

RATE_HZ = 16_000
_MARGIN_S = 0.06


class Sentences:
    """Sentences of a cache that nothing else sounds over.

    Args:
        cache: rendered clips, with word times.
        seed: of what is drawn.
    """

    def __init__(self, cache: ClipCache, *, seed: int = 0) -> None:
        self.cache, self.seed = cache, seed
        self.found = [i for i in range(len(cache)) if _alone(cache.script(i))]

    def pack(self, index: int, turn: int) -> tuple[np.ndarray, tuple[Script, ...]]:
        """Fill a clip's length: the sound (N,), and one script a sentence that knows of it alone, at its new time.

        A pure function of the arguments and the seed; the drawn sentences stand 0.1 to 0.5 s apart.
        """
        rng = random.Random(f"{self.seed}/{index}/{turn}")
        length_s = self.cache.choices.duration_s
        sound = np.zeros(round(length_s * RATE_HZ), np.float32)
        scripts: list[Script] = []
        at_s = rng.uniform(_MARGIN_S, 0.5)
        for _ in range(16):
            which = rng.choice(self.found)
            script = self.cache.script(which)
            said = _said(script)
            if at_s + said.end_s - said.start_s + _MARGIN_S > length_s:
                break
            piece = self._piece(which, said)
            begin = round((at_s - _MARGIN_S) * RATE_HZ)
            sound[begin : begin + len(piece)] += piece[: len(sound) - begin]
            scripts.append(shifted(script, at_s - said.start_s))
            at_s += said.end_s - said.start_s + rng.uniform(0.1, 0.5)
        return sound, tuple(scripts)

    def _piece(self, index: int, said: Utterance) -> np.ndarray:
        """One sentence with a margin, faded at both ends."""
        waveform = self.cache.clip(index, streams=("audio",)).waveform_N
        if waveform is None:
            raise DatasetError(f"clip {index} has a sentence but no sound;", remedy="render the clips again.")
        low, high = round((said.start_s - _MARGIN_S) * RATE_HZ), round((said.end_s + _MARGIN_S) * RATE_HZ)
        piece = waveform[max(low, 0) : high].astype(np.float32).copy()
        ramp = np.linspace(0.0, 1.0, round(_MARGIN_S * RATE_HZ / 2), dtype=np.float32)
        piece[: len(ramp)] *= ramp
        piece[-len(ramp) :] *= ramp[::-1]
        return piece


def _alone(script: Script) -> bool:
    """Whether a sentence is said, its words are timed, and no other sound is near."""
    said = script.utterance
    if said is None or not said.words or script.background is not None or said.start_s < _MARGIN_S:
        return False
    return all(s.end_s < said.start_s - _MARGIN_S or s.start_s > said.end_s + _MARGIN_S for s in script.sounds)


def _said(script: Script) -> Utterance:
    """The sentence of a script that `_alone` has let through."""
    if script.utterance is None:
        raise DatasetError(f"clip {script.index} says nothing;", remedy="take clips with a sentence.")
    return script.utterance


def shifted(script: Script, by_s: float) -> Script:
    """A script of the sound that knows of its sentence only, `by_s` later."""
    said = _said(script)
    words = tuple(replace(w, start_s=w.start_s + by_s, end_s=w.end_s + by_s) for w in said.words)
    later = replace(said, start_s=said.start_s + by_s, end_s=said.end_s + by_s, words=words)
    return replace(script, utterance=later, sounds=(), background=None)
