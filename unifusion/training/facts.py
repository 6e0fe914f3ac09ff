"""What is known of one real clip, the questions that can be asked about it, and what speaks for its emotion."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unifusion.conversation import Example, Mix
from unifusion.media.prosody import Prosody
from unifusion.training.grammar import Grammar
from unifusion.training.known import THIRDS, third_of
from unifusion.training.talks import Turn
from unifusion.world.captions import adjective
from unifusion.world.circumplex import POSITIONS
from unifusion.world.world_file import phrasings

__all__ = ["DIGITS", "MIDDLE", "SPOKEN", "Facts", "altered", "caption_of", "evidence_of", "facts_of", "turns_of", "with_article"]

PLACES = {**POSITIONS, "boredom": (-0.65, -0.62)}
"""Emotion -> (valence, arousal); boredom from the same table of Russell and Mehrabian (1977)."""
NOUNS = {
    "neutral": "calm", "happy": "happiness", "sad": "sadness", "angry": "anger", "fear": "fear", "disgust": "disgust",
    "surprise": "surprise", "boredom": "boredom", "contempt": "contempt",
}  # fmt: skip
_PLAIN = 0.4
"""Share of sounds that it is plainly asked of what can be heard, or whether anything can."""
_NEAR = 0.1
"""Differences of valence or arousal below this are nobody's to judge."""
_ASKED_FOR = tuple(e for e in NOUNS if e not in ("contempt", "boredom"))
"""Emotions that may be asked for where they are not: those of most sets."""
_AGAIN = 3
"""Times that it is asked what takes face and voice together: it comes late (docs/tiny.md, run 28)."""
_COVERED_DB = 5.0
"""A voice that is not louder than what is behind it by this: how loud it is by itself cannot be told."""
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPOKEN = ("kids", "dogs", "talking", "sitting", "cats", "door", "window", "sleeping", "street")
"""Words that may be asked for where they are not said."""
_OF_A_VOICE = ("statement", "language", "gender", "digit", "level_db", "pitch_hz", "rate_hz")
MIDDLE = {"level_db": "normal", "pitch_hz": "medium", "rate_hz": "normal"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one clip.

    Attributes:
        picture, sound: whether there is one.
        face, voice: their emotion; empty where there is none, or nobody knows it.
        has_voice: whether somebody speaks; None where that is unclear.
        alone: nothing else is heard beside a voice.
        told: kind -> what the labels say: sound, background, digit, language, gender, statement.
        thirds: measure of the voice -> low, middle or high.
    """

    picture: bool
    sound: bool
    face: str = ""
    voice: str = ""
    has_voice: bool | None = None
    alone: bool = False
    told: Mapping[str, str] = field(default_factory=dict)
    thirds: Mapping[str, str] = field(default_factory=dict)

    @property
    def emotion(self) -> str:
        """The emotion of the person where face and voice leave no doubt, else an empty string."""
        found = {e for e in (self.face, self.voice) if e}
        return found.pop() if len(found) == 1 else ""

    @property
    def affect(self) -> tuple[float, float] | None:
        """Valence and arousal: the mean of what face and voice tell; None where neither does."""
        found = [PLACES[e] for e in (self.face, self.voice) if e]
        return (sum(v for v, _ in found) / len(found), sum(a for _, a in found) / len(found)) if found else None

    def without(self, muted: tuple[str, ...]) -> Facts:
        """As somebody knows it who does not get some streams."""
        known = self
        if "video" in muted:
            known = replace(known, picture=False, face="")
        if "audio" in muted:
            known = replace(known, sound=False, voice="", has_voice=False, alone=False, told={}, thirds={})
        return known


def facts_of(example: Example, prosody: Prosody | None = None) -> Facts:
    """What a row's labels say, and which third of its set its voice is in."""
    labels, kind = example.labels, example.media[0].kind if example.media else ""
    mix = example.media[0].source if example.media and isinstance(example.media[0].source, Mix) else None
    filmed = kind == "video" and mix is None
    picture = filmed or kind == "image" or (mix is not None and mix.still is not None)
    emotion = str(labels.get("emotion", ""))
    voice = str(labels.get("voice_emotion", emotion if kind == "audio" or filmed else ""))
    told = {key: str(labels[key]) for key in ("digit", "language", "gender") if key in labels}
    if "sound" in labels:
        told["background" if voice else "sound"] = str(labels["sound"])
    if voice and "transcript" in example.texts and not (prosody is not None and prosody.cut):
        told["statement"] = example.texts["transcript"]
    speaks = bool(voice) or "digit" in labels
    thirds = third_of(prosody, labels["thirds"]) if prosody is not None and "thirds" in labels else {}
    if mix is not None and mix.background is not None and mix.snr_db < _COVERED_DB:
        thirds.pop("level_db", None)
    return Facts(
        picture=picture, sound=filmed or kind == "audio" or mix is not None, voice=voice, told=told, thirds=thirds,
        face=str(labels.get("face_emotion", emotion if kind == "image" or filmed else "")),
        alone=bool(voice) and not filmed and "sound" not in labels and (mix is None or mix.background is None),
        has_voice=True if speaks else None if filmed or told.get("sound") in ("baby cry", "person sneeze") else False,
    )  # fmt: skip


def turns_of(facts: Facts, grammar: Grammar, rng: random.Random, *, sounds: tuple[str, ...] = ()) -> list[Turn]:
    """Questions about one clip with their answers, some of them about what it lacks; in random order.

    Args:
        facts: what is known.
        grammar: the questions' words.
        rng: source of chance.
        sounds: kinds of sound that a clip may be asked about.
    """
    turns: list[Turn] = []

    def ask(family: str, answer: str, **slots: str) -> None:
        turns.append((grammar.ask(family, rng, slots), answer))

    def shows(stream: str, emotion: str, beside: str) -> None:
        """Whether one stream shows its emotion, and whether it shows another: the other stream's where that is another one."""
        other = beside if beside not in ("", emotion) else rng.choice([e for e in _ASKED_FOR if e != emotion])
        for e in (emotion, other):
            ask(f"{stream}_shows", "yes" if e == emotion else "no", e=adjective(e), n=NOUNS[e])

    missing = phrasings()["missing"]
    if facts.face:
        ask("face_emotion", facts.face)
        shows("face", facts.face, facts.voice)
    elif not facts.picture:
        ask("face_emotion", missing["picture"])
    if facts.voice:
        ask("voice_emotion", facts.voice)
        shows("voice", facts.voice, facts.face)
    elif not facts.sound or facts.has_voice is False:
        ask("voice_emotion", missing["voice" if facts.sound else "sound"])
    if facts.emotion:
        valence, arousal = PLACES[facts.emotion]
        ask("emotion", facts.emotion)
        ask("pleasant", "pleasant" if valence > 0.1 else "unpleasant" if valence < -0.1 else "neither")
        ask("excited", "excited" if arousal > 0.1 else "calm")
    if facts.face and facts.voice:
        for _ in range(_AGAIN):
            ask("agreement", "yes" if facts.face == facts.voice else "no")
        # Whether the two agree gives no gradient from either alone; which is higher on a scale does (docs/tiny.md, run 19).
        for scale, family in enumerate(("more_positive", "more_excited")):
            face, voice = PLACES[facts.face][scale], PLACES[facts.voice][scale]
            if facts.face == facts.voice or abs(face - voice) >= _NEAR:
                ask(family, "the same" if facts.face == facts.voice else "the face" if face > voice else "the voice")
        if facts.face != facts.voice:
            for shown, emotion in (("face", facts.face), ("voice", facts.voice)) * _AGAIN:
                ask("which_stream", f"the {shown}", e=adjective(emotion), n=NOUNS[emotion])
    elif not (facts.picture and facts.sound) and rng.random() < 0.5:
        ask("agreement", missing["sound" if facts.picture else "picture"])
    for family, answer in facts.told.items():
        ask(family, {"male": "a man", "female": "a woman"}.get(answer, answer))
    for family, answer, slots in _of_words(facts, rng):
        ask(family, answer, **slots)
    for family, third in facts.thirds.items():
        ask(family, {"low": THIRDS[family][0], "middle": MIDDLE[family], "high": THIRDS[family][1]}[third])
    if facts.face:
        plain = {"what_seen": " ".join(_seen(facts)), "seen_at_all": "yes", "how_many": "one"}
        ask(family := rng.choice(sorted(plain)), plain[family])
    elif not facts.picture:
        for family in rng.sample(("what_seen", "seen_at_all", "how_many", "unseen", "unseen"), 2):
            ask(family, missing["picture"])
    if facts.sound and _heard(facts) and rng.random() < _PLAIN:
        plain = {"what_heard": " ".join(_heard(facts)), "heard_at_all": "yes"}
        ask(family := rng.choice(sorted(plain)), plain[family])
    if not facts.sound:
        for family in rng.sample(("sound", "statement", "language", "level_db", "pitch_hz", "background"), 2):
            ask(family, missing["sound"])
        for family in rng.sample(("what_heard", "heard_at_all", "unheard", "unheard"), 2):
            ask(family, missing["sound"])
    elif facts.has_voice is False:
        for family in rng.sample((*_OF_A_VOICE, *(() if facts.picture else ("emotion",))), 2):
            ask(family, missing["voice"])
    elif facts.alone and rng.random() < 0.3:
        ask("background", "nothing")
    heard = facts.told.get("sound") or facts.told.get("background")
    other = rng.choice([s for s in sounds if s != heard] or [""])
    if heard and other:
        for thing in (heard, other):
            ask("seen", "yes" if thing == heard else "no", thing=with_article(thing))
    elif facts.alone and other and rng.random() < 0.2:
        ask("seen", "no", thing=with_article(other))
    rng.shuffle(turns)
    return turns


def _of_words(facts: Facts, rng: random.Random) -> list[tuple[str, str, dict[str, str]]]:
    """(family, answer, slots) of questions about single words that are said, and one that is not; who a sentence is about."""
    text = facts.told.get("statement") or facts.told.get("digit") or ""
    said = sorted({word.strip(".,!?").lower() for word in text.split()})
    if not said:
        return []
    other = rng.choice([w for w in (DIGITS if "digit" in facts.told else SPOKEN) if w not in said])
    found = [("word_said", answer, {"thing": word}) for word, answer in ((rng.choice(said), "yes"), (other, "no"))]
    about = re.match(r"(\w+) (are|is) ", text.lower())
    return found + ([("subject", about[1], {})] if about else [])


def caption_of(facts: Facts) -> str:
    """What is seen and heard in a few short sentences, as captions of clip world are written."""
    absent = [f"There is no {name}." for name, there in (("picture", facts.picture), ("sound", facts.sound)) if not there]
    return " ".join([*_seen(facts), *_heard(facts), *absent])


def _seen(facts: Facts) -> list[str]:
    """What a caption tells of the picture."""
    return [f"The face is {adjective(facts.face)}."] if facts.face else []


def _heard(facts: Facts) -> list[str]:
    """What a caption tells of the sound."""
    found = []
    who = {"male": "A man", "female": "A woman"}.get(facts.told.get("gender", ""), "Somebody")
    if facts.has_voice:
        found.append(f"{who} speaks{' ' + language.capitalize() if (language := facts.told.get('language')) else ''}.")
    found += [f"The voice is {adjective(facts.voice)}."] if facts.voice else []
    found += [f'The words are "{words.rstrip(".")}".' for key in ("digit", "statement") if (words := facts.told.get(key))]
    found += [f"There is {with_article(facts.told['sound'])}."] if "sound" in facts.told else []
    found += [f"There is {with_article(facts.told['background'])} in the background."] if "background" in facts.told else []
    return found


def altered(facts: Facts, rng: random.Random, sounds: Sequence[str] = ()) -> Facts | None:
    """The facts with one thing that a caption tells changed to what is not so; None where it tells nothing that can be."""
    changes: list[dict[str, Any]] = []
    for key in ("face", "voice"):
        if true := getattr(facts, key):
            changes.append({key: rng.choice([e for e in _ASKED_FOR if e != true])})
    for key, others in (("gender", ("male", "female")), ("digit", DIGITS), ("sound", sounds), ("background", sounds)):
        if (true := facts.told.get(key)) and (left := [o for o in others if o != true]):
            changes.append({"told": {**facts.told, key: rng.choice(left)}})
    return replace(facts, **rng.choice(changes)) if changes else None


def evidence_of(facts: Facts, prosody: Prosody | None, duration_s: float) -> list[dict[str, Any]]:
    """What speaks for the emotion: the face, what was measured of the voice, and the words, with their times."""
    found: list[dict[str, Any]] = []
    end_s = round(max(duration_s, 0.1), 1)
    if facts.face:
        found.append({"stream": "picture", "start_s": 0.0, "end_s": end_s, "text": f"{facts.face} face"})
    if facts.voice:
        words = [THIRDS[k][third == "high"] for k, third in facts.thirds.items() if third != "middle"]
        start_s, stop_s = (prosody.start_s, prosody.end_s) if prosody is not None else (0.0, end_s)
        span = {"start_s": round(start_s, 1), "end_s": round(min(stop_s, end_s), 1)}
        found.append({"stream": "sound", **span, "text": f"{', '.join(words) or 'even'} voice"})
        if "statement" in facts.told:
            found.append({"stream": "words", **span, "text": f'"{facts.told["statement"]}" (neutral)'})
    return found


def with_article(sound: str) -> str:
    """A kind of sound as one speaks of it: a dog bark, rain."""
    if sound in (*phrasings()["no_article"], "sea waves", "fire crackling"):
        return sound
    return f"{'an' if sound[0] in 'aeiou' else 'a'} {sound}"
