"""Talks of a whole corpus: three casts that never meet, and lines whose emotion no single stream tells for sure.

Each line has one emotion. Face, voice and words tell it together in two fifths of the lines; in the others one of the three, drawn evenly,
is neutral or tells another emotion, and the two that are left tell the truth. So the best that can be done from one stream is right in four
fifths of the lines at most, and from all three in all of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Literal

from unifusion.world.circumplex import POSITIONS
from unifusion.world.draw import Draw
from unifusion.world.sample import VOICE_EMOTIONS, check_request, ground_of, identity_of
from unifusion.world.script import Script
from unifusion.world.sentences import voice_of
from unifusion.world.talks import Person, Profile, said_by, shown_by
from unifusion.world.world_file import ranges, talk_topics

__all__ = ["STREAMS", "Dialogue", "Line", "Part", "act", "cast", "dialogue", "part_of", "person"]

Part = Literal["train", "val", "test"]
STREAMS = ("face", "voice", "words")
_ORDER: tuple[Part, ...] = ("train", "train", "val", "train", "train", "test", "train", "train", "train", "train")
_AGREE, _STAYS = 0.4, 0.4
_LATER_VOICES = 7
"""Of nine voice variants of a register, val has those from this one on."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a talk.

    Attributes:
        emotion: the truth.
        tells: stream -> the emotion it tells.
        valence, arousal: place of the truth on the circumplex, scaled by how strongly the streams that tell it do.
        script: its clip.
    """

    emotion: str
    tells: dict[str, str]
    valence: float
    arousal: float
    script: Script

    @property
    def text(self) -> str:
        """What is said."""
        return self.script.utterance.text if self.script.utterance is not None else ""


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """A talk of 2, 4 or 6 lines; the speaker has the even ones, the listener the odd ones."""

    index: int
    part: Part
    topic: str
    scenario: str
    cause: str
    goal: str
    people: tuple[Person, Person]
    """Speaker and listener."""
    lines: tuple[Line, ...]


def part_of(index: int) -> Part:
    """Return the part of a corpus that a dialogue is in: of ten, the third is val and the sixth is test."""
    return _ORDER[index % len(_ORDER)]


@lru_cache(maxsize=3)
def cast(part: Part) -> tuple[int, ...]:
    """Return the ids of the people of a part; nobody is in two, and neither is a voice."""
    world = ranges()["identities"]
    low, high = world["held_out" if part == "test" else "train"]
    if part == "test":
        return tuple(range(low, high))
    edge = low + (high - low) * 4 // 5
    return tuple(range(low, edge)) if part == "train" else tuple(range(edge, high))


@lru_cache(maxsize=1024)
def person(part: Part, number: int, register: str = "") -> Person:
    """Return the person with this id: looks, voice and profile are drawn from the id alone; a low voice is a man's here.

    Args:
        part: whose cast.
        number: of `cast(part)`.
        register: high or low where the voice is asked for; a beard goes only with a low one.
    """
    draw, world, looks = Draw("person", number), talk_topics()["people"], identity_of(number)
    wanted = register or ("low" if looks.beard else draw.pick("register", ["high", "low"]))
    low, high = ranges()["voices"]["held_out" if part == "test" else "train"]
    voices = [voice_of(v, part == "test") for v in range(low, high) if part == "test" or (v // 2 % 9 >= _LATER_VOICES) == (part == "val")]
    voice = draw.pick("voice", [v for v in voices if v.register == wanted])
    personality = draw.pick("personality", list(world["personalities"]))
    profile = Profile(
        id=number, age=draw.pick("age", world["ages"]), gender=world["genders"][voice.register],
        timbre=draw.pick("timbre", world["timbres"][voice.register]), personality=personality,
    )  # fmt: skip
    return Person(profile=profile, identity=looks, voice=voice, tempo=world["personalities"][personality])


def act(
    draw: Draw, turn: int, who: Person, tells: dict[str, str], text: str, *, place: tuple[int, int], duration_s: float, size_px: int
) -> Script:
    """Return the clip in which a person says a text with this emotion in the face and that one in the voice.

    Args:
        draw: of the whole talk.
        turn: of the talk.
        who: says it.
        tells: stream -> emotion.
        text: English.
        place: seed and index of the talk, which the script carries.
        duration_s: length of the clip.
        size_px: width and height.

    Raises:
        ConfigError: the text does not fit, or the clip is outside of the world's ranges.
    """
    check_request(place[1], "train", duration_s, size_px)
    return Script(
        seed=place[0], index=place[1], split="train", duration_s=duration_s, rate_hz=ranges()["clip"]["rate_hz"], size_px=size_px,
        background_rgb=ground_of(draw), identity=who.identity, expressions=shown_by(draw, turn, tells["face"], duration_s),
        utterance=said_by(draw, turn, who, (text, tells["words"], tells["voice"]), duration_s),
        agreement="agree" if tells["face"] == tells["voice"] else "conflict",
        profile={"turn": turn, "role": "listener" if turn % 2 else "speaker", **asdict(who.profile)},
    )  # fmt: skip


def dialogue(seed: int, index: int, *, duration_s: float = 4.0, size_px: int = 112) -> Dialogue:
    """Return one talk: a pure function of the arguments.

    Raises:
        ConfigError: the clips are too short for a line, or outside of the world's ranges.
    """
    world, draw, part = talk_topics(), Draw("dialogue", seed, index), part_of(index)
    subject = draw.pick("topic", [t for t in world["topics"] if not t.get("held_out")])
    speaker, listener = (person(part, number) for number in draw.sample("people", cast(part), 2))
    low, high = world["turns"]
    turns = low + 2 * draw.integer("turns", (high - low) // 2 + 1)
    lines: list[Line] = []
    for turn in range(turns):
        who = listener if turn % 2 else speaker
        emotion = _felt(draw, turn, subject["emotion"], lines)
        tells = _telling(draw, turn, emotion)
        text = _worded(draw, turn, tells["words"], subject["lines"])
        script = act(draw, turn, who, tells, text, place=(seed, index), duration_s=duration_s, size_px=size_px)
        valence, arousal = _placed(script, emotion, tells)
        lines.append(Line(emotion=emotion, tells=tells, valence=valence, arousal=arousal, script=script))
    about = {key: subject[key] for key in ("topic", "scenario", "cause", "goal")}
    return Dialogue(index=index, part=part, people=(speaker, listener), lines=tuple(lines), **about)


def _felt(draw: Draw, turn: int, topic: str, before: list[Line]) -> str:
    """The emotion of a line: the topic's for the speaker, the speaker's last one for the listener, or any."""
    near = before[-1].emotion if turn % 2 else topic
    return near if draw.chance(f"stays{turn}", _STAYS) else draw.pick(f"emotion{turn}", VOICE_EMOTIONS)


def _telling(draw: Draw, turn: int, emotion: str) -> dict[str, str]:
    """What each stream tells; at least two tell the truth."""
    tells = dict.fromkeys(STREAMS, emotion)
    if not draw.chance(f"agree{turn}", _AGREE):
        hides = emotion != "neutral" and draw.chance(f"hides{turn}", 0.5)
        others = [e for e in VOICE_EMOTIONS if e not in (emotion, "neutral")]
        tells[draw.pick(f"odd{turn}", STREAMS)] = "neutral" if hides else draw.pick(f"other{turn}", others)
    return tells


def _worded(draw: Draw, turn: int, meaning: str, own: list[list[str]]) -> str:
    """A text with this meaning: one of the topic's in half of the cases where it has one, else any sentence of the world."""
    of_topic = [text for text, emotion in own if emotion == meaning]
    if of_topic and draw.chance(f"own{turn}", 0.5):
        return draw.pick(f"line{turn}", of_topic)
    sentences = ranges()["sentences"]["english"][meaning]["train"]
    return str(draw.pick(f"line{turn}", sentences)).format(w=draw.pick(f"word{turn}", ranges()["words"]))


def _placed(script: Script, emotion: str, tells: dict[str, str]) -> tuple[float, float]:
    """Valence and arousal of the truth at the mean intensity of the face and voice that tell it."""
    strong = [e.intensity for e in script.expressions if tells["face"] == emotion]
    strong += [script.utterance.intensity] if script.utterance is not None and tells["voice"] == emotion else []
    scale = sum(strong) / len(strong) if strong else 1.0
    return round(POSITIONS[emotion][0] * scale, 4), round(POSITIONS[emotion][1] * scale, 4)
