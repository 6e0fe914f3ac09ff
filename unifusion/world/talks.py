"""Talks between two people: speaker profiles, topic, scenario, cause, goal, and one script per turn."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from unifusion.errors import ConfigError
from unifusion.world.draw import Draw
from unifusion.world.expression import AU_OF_EMOTION
from unifusion.world.sample import check_request, ground_of, identity_of
from unifusion.world.scenes import pool
from unifusion.world.script import Expression, Identity, Script, Split, Utterance, Voice
from unifusion.world.sentences import estimate_s, voice_of
from unifusion.world.world_file import ranges, talk_topics

__all__ = ["Person", "Profile", "Talk", "said_by", "shown_by", "talk"]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is known of a person besides looks and voice."""

    id: int
    age: str
    gender: str
    timbre: str
    personality: str


@dataclass(frozen=True, kw_only=True)
class Person:
    """One of the two people of a talk; the same looks and voice in all turns."""

    profile: Profile
    identity: Identity
    voice: Voice
    tempo: Literal["fast", "normal", "slow"]


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A dialogue of 2 to 6 turns; speaker (even turns) and listener (odd turns) alternate, one script per turn."""

    topic: str
    scenario: str
    cause: str
    goal: str
    emotion: str
    """What the speaker feels about the cause."""
    people: tuple[Person, Person]
    """Speaker and listener."""
    scripts: tuple[Script, ...]

    def history(self, turn: int) -> list[dict[str, Any]]:
        """Return what was said before `turn`: `index`, `role`, `utterance` of each turn, as in AvaMERG."""
        said = [s.utterance.text for s in self.scripts[:turn] if s.utterance is not None]
        return [{"index": i, "role": "listener" if i % 2 else "speaker", "utterance": text} for i, text in enumerate(said)]


def talk(seed: int, index: int, *, split: Split = "train", duration_s: float = 6.0, size_px: int = 112) -> Talk:
    """Return one talk: a pure function of the arguments. The split chooses people and topics as it does for single clips.

    Raises:
        ConfigError: as `sample_script`, or the clips are too short for a line of the talk.
    """
    check_request(index, split, duration_s, size_px)
    world, draw = talk_topics(), Draw("talk", seed, split, index)
    new = pool(split, "combinations") == "held_out"
    subject = draw.pick("topic", [t for t in world["topics"] if bool(t.get("held_out")) == new])
    people = _people(draw, split)
    low, high = world["turns"]
    turns = low + draw.integer("turns", high - low + 1)
    about = {key: subject[key] for key in ("topic", "scenario", "cause", "goal")}
    scripts = []
    for turn, (text, emotion) in enumerate(subject["lines"][:turns]):
        person = people[turn % 2]
        profile = {"scene": "talk", "turn": turn, "role": "listener" if turn % 2 else "speaker", **about, **asdict(person.profile)}
        scripts.append(
            Script(
                seed=seed, index=index, split=split, duration_s=duration_s, rate_hz=ranges()["clip"]["rate_hz"], size_px=size_px,
                background_rgb=ground_of(draw), identity=person.identity, expressions=shown_by(draw, turn, emotion, duration_s),
                utterance=said_by(draw, turn, person, (text, emotion, emotion), duration_s), agreement="agree", profile=profile,
            )
        )  # fmt: skip
    return Talk(**about, emotion=subject["emotion"], people=people, scripts=tuple(scripts))


def _people(draw: Draw, split: Split) -> tuple[Person, Person]:
    """Two different people; a high voice is a woman's here and wears no beard."""
    world, which = talk_topics()["people"], pool(split, "people")
    identities, voices = ranges()["identities"][which], ranges()["voices"][which]
    found = []
    for i, name in enumerate(("speaker", "listener")):
        # Ids of the two people differ by their place in fours, so that nobody talks to himself.
        place = draw.integer(name + "/place", (voices[1] - voices[0]) // 4)
        voice = voice_of(voices[0] + 4 * place + 2 * i + draw.integer(name + "/register", 2), which == "held_out")
        number = identities[0] + 8 * draw.integer(name + "/face", (identities[1] - identities[0]) // 8) + 4 * i
        number += draw.integer(name + "/glasses", 2) + (2 * draw.integer(name + "/beard", 2) if voice.register == "low" else 0)
        personality = draw.pick(name + "/personality", list(world["personalities"]))
        profile = Profile(
            id=number, age=draw.pick(name + "/age", world["ages"]), gender=world["genders"][voice.register],
            timbre=draw.pick(name + "/timbre", world["timbres"][voice.register]), personality=personality,
        )  # fmt: skip
        found.append(Person(profile=profile, identity=identity_of(number), voice=voice, tempo=world["personalities"][personality]))
    return found[0], found[1]


def shown_by(draw: Draw, turn: int, emotion: str, duration_s: float) -> tuple[Expression, ...]:
    """Return how a face takes on an emotion as a line begins; no expression for a neutral one."""
    if emotion == "neutral":
        return ()
    world = talk_topics()
    start = world["change_s"]
    apex = round(start + draw.uniform(f"rise{turn}", *ranges()["expression"]["rise_s"]), 3)
    intensity = draw.uniform(f"face{turn}", *world["intensity"])
    units = AU_OF_EMOTION[emotion]
    times = {"start_s": start, "apex_s": apex, "offset_s": duration_s, "end_s": duration_s}
    return (Expression(emotion=emotion, intensity=intensity, action_units=units, **times),)


def said_by(draw: Draw, turn: int, person: Person, line: tuple[str, str, str], duration_s: float) -> Utterance:
    """Return one line (text, what its words mean, emotion of the voice) at the tempo of the personality where that fits, else faster.

    Raises:
        ConfigError: the line does not fit into the clip at any tempo.
    """
    world = talk_topics()
    text, meaning, emotion = line
    tempi: tuple[Literal["fast", "normal", "slow"], ...] = (person.tempo, "normal", "fast")
    for tempo in tempi:
        said = Utterance(
            voice=person.voice, language="english", text=text, meaning=meaning, emotion=emotion, tempo=tempo, start_s=world["start_s"],
            intensity=draw.uniform(f"voice{turn}", *world["intensity"]),
            level_db=draw.uniform(f"level{turn}", *ranges()["voice"]["level_db"]),
        )  # fmt: skip
        if said.start_s + estimate_s(said) <= duration_s:
            return said
    raise ConfigError(f"{text!r} does not fit into {duration_s} s;", remedy="choose a longer duration for talks.")
