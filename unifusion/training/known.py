"""What the labels of a real recording or picture tell about the phrases encoders are aligned with: true, false, or nobody knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unifusion.conversation import Example
from unifusion.media.prosody import Prosody
from unifusion.world.phrases import phrase_bank
from unifusion.world.script import LANGUAGES

__all__ = ["THIRDS", "Known", "label_phrase", "third_of"]

ALIKE = {
    "dog bark": ("bark",), "helicopter": ("engine",), "chainsaw": ("engine",), "sea waves": ("wind",), "rooster": ("bird",),
    "fire crackling": ("applause",), "clock tick": ("knocking", "footsteps"),
}  # fmt: skip
"""Real sound -> kinds of clip world that it resembles; whether one of these is heard in the other is nobody's to say. Rain is a kind of
both, and by its labels neither sea waves nor fire."""
_BREATH = ("baby cry", "person sneeze")
"""Sounds of people that are no speech."""
THIRDS = {"level_db": ("soft", "loud"), "pitch_hz": ("low", "high"), "rate_hz": ("slow", "fast")}
"""Measure -> what a voice of the lowest third is called, and one of the highest."""


_NO_EMOTION = ("a", *(word for pair in THIRDS.values() for word in pair))


@dataclass(frozen=True)
class Known:
    """The phrases of both streams: clip world's, and those that other labels add.

    Args:
        extra: stream -> phrases beside clip world's.
    """

    extra: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Known:
        """The phrases that the labels of these rows add, in alphabetical order."""
        found: dict[str, set[str]] = {"video": set(), "audio": set()}
        for row in examples:
            for stream, phrases in _told(row).items():
                found[stream].update(phrases)
        found["audio"] |= {f"{word} voice" for pair in THIRDS.values() for word in pair}
        bank = phrase_bank()
        return cls({stream: tuple(sorted(phrases - set(bank[stream]))) for stream, phrases in found.items()})

    @cached_property
    def bank(self) -> dict[str, tuple[str, ...]]:
        """All phrases by stream: clip world's first, in its order."""
        return {stream: (*phrases, *self.extra.get(stream, ())) for stream, phrases in phrase_bank().items()}

    def sets(self, stream: str) -> dict[str, list[int]]:
        """Kind -> indices of phrases of which one alone can be true of a voice, a face or a sound."""
        kinds = {
            "video": {"emotion": [p for p in self.bank["video"] if p.endswith(" face") and p != "a face"]},
            "audio": {
                "emotion": [p for p in self.bank["audio"] if _is_emotion(p)],
                "language": [p for p in self.bank["audio"] if p.endswith(" speech")],
                "word": [p for p in self.bank["audio"] if p.startswith("the word ")],
                "sound": [p for p in self.bank["audio"] if p.startswith("sound of ")],
                "speaker": [p for p in self.bank["audio"] if p.endswith("'s voice")],
                "sentence": [p for p in self.bank["audio"] if p.startswith("says ")],
            },
        }[stream]
        index = {p: i for i, p in enumerate(self.bank[stream])}
        return {kind: [index[p] for p in phrases] for kind, phrases in kinds.items()}

    def truth(self, example: Example, stream: str) -> np.ndarray:
        """Return (P,) int8: 1 where the labels say so, 0 where they rule it out, -1 where they say nothing."""
        index = {p: i for i, p in enumerate(self.bank[stream])}
        truth_P = np.full(len(index), -1, np.int8)
        told, sets = _told(example)[stream], self.sets(stream)
        for phrase, value in told.items():
            truth_P[index[phrase]] = value
            for members in sets.values():
                if value == 1 and index[phrase] in members:
                    others = [i for i in members if truth_P[i] == -1]
                    truth_P[others] = 0
        if stream == "audio" and told.get("a voice") == 1 and "sound" not in example.labels:
            truth_P[sets["sound"]] = 0
        if stream == "audio" and "sound" in example.labels:
            alike = [index[f"sound of {kind}"] for kind in ALIKE.get(str(example.labels["sound"]), ())]
            truth_P[alike] = -1
            truth_P[[*sets["emotion"], *sets["language"], *sets["word"]]] = 0 if told.get("a voice") == 0 else -1
        return truth_P

    def behind(self, truth_P: np.ndarray, sound: Example) -> np.ndarray:
        """Add that a sound is heard behind a voice."""
        index = {p: i for i, p in enumerate(self.bank["audio"])}
        kinds = self.sets("audio")["sound"]
        truth_P[kinds] = self.truth(sound, "audio")[kinds]
        truth_P[index["no sound event"]] = 0
        return truth_P

    def measured(self, truth_P: np.ndarray, prosody: Prosody, thirds: Mapping[str, Sequence[float]]) -> np.ndarray:
        """Add which third of its set's voices a voice is in, by level, pitch and rate; what cannot be measured stays unknown."""
        index = {p: i for i, p in enumerate(self.bank["audio"])}
        for key, third in third_of(prosody, thirds).items():
            for place, word in (("low", THIRDS[key][0]), ("high", THIRDS[key][1])):
                truth_P[index[f"{word} voice"]] = third == place
        return truth_P

    def unsure_of(self, stream: str) -> list[int]:
        """Phrases beside clip world's that cannot be called false of its clips.

        Some of its sounds resemble real ones, its voices are high or low as a woman's or a man's is, and which of them is loud no set
        of recordings says.
        """
        index = {p: i for i, p in enumerate(self.bank[stream])}
        unsure = {*(f"sound of {real}" for real in ALIKE), *(f"a {who}'s voice" for who in ("man", "woman")), "loud voice", "soft voice"}
        return [index[p] for p in self.extra.get(stream, ()) if p in unsure]


def third_of(prosody: Prosody, thirds: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Measure -> low, middle or high, for the measures that `thirds` has borders for and that could be taken."""
    found = {}
    for key, (low, high) in thirds.items():
        if (value := getattr(prosody, key)) is not None:
            found[key] = "low" if value < low else "high" if value > high else "middle"
    return found


def label_phrase(example: Example, stream: str) -> str:
    """The phrase of a row's own label: its emotion, its digit or its sound."""
    labels = example.labels
    if "emotion" in labels:
        return f"{labels['emotion']} {'face' if stream == 'video' else 'voice'}"
    return f"the word {labels['digit']}" if "digit" in labels else f"sound of {labels.get('sound')}"


def _is_emotion(phrase: str) -> bool:
    """Whether a phrase of the sound names an emotion of the voice."""
    first, *rest = phrase.split()
    return rest == ["voice"] and first not in _NO_EMOTION


def _told(example: Example) -> dict[str, dict[str, int]]:
    """Stream -> phrases that a row's labels speak about, 1 for true and 0 for false."""
    labels, kind = example.labels, example.media[0].kind if example.media else ""
    video: dict[str, int] = {}
    audio: dict[str, int] = {}
    if kind == "image" and "emotion" in labels:
        video = {"a face": 1, label_phrase(example, "video"): 1}
    if kind == "audio" and ("emotion" in labels or "digit" in labels):
        audio = {"a voice": 1, "no sound event": 1, label_phrase(example, "audio"): 1}
        audio |= {f"{labels['language']} speech": 1} if labels.get("language") in LANGUAGES else {}
        audio |= {f"a {'man' if labels['gender'] == 'male' else 'woman'}'s voice": 1} if "gender" in labels else {}
        audio |= {f"says {example.texts['transcript']}": 1} if "transcript" in example.texts and "emotion" in labels else {}
    if kind == "audio" and "sound" in labels:
        sound = str(labels["sound"])
        audio = {label_phrase(example, "audio"): 1, "no sound event": 0} | ({} if sound in _BREATH else {"a voice": 0})
    return {"video": video, "audio": audio}
