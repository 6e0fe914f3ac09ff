"""What is true of a row and how it can be said: facts by space, and texts made of some of them, drawn anew each epoch."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from unifusion.conversation import Example
from unifusion.errors import ConfigError
from unifusion.media.augment import TextAugmentation, augmented_text
from unifusion.world.captions import adjective
from unifusion.world.families_picture import face_emotion, object_name
from unifusion.world.families_sound import kind_name
from unifusion.world.question import an
from unifusion.world.script import Script
from unifusion.world.world_file import phrasings

__all__ = ["Describer", "Fact", "Said", "facts_of"]

SIGHT, SOUND, CLIP = "sight", "sound", "clip"
"""What a text is about."""
_AROUND = 0.25
"""Share of texts that are asked for rather than said, where there are ways to ask."""
_CHANGED = TextAugmentation(paraphrase=0.5, synonyms=0.5, span=0.2, drop=0.1)
"""How a caption is changed to say it again."""


@dataclass(frozen=True)
class Fact:
    """One thing that is true.

    Attributes:
        about: sight, sound, or clip where it may be either.
        kind: how it is said: face, voice, emotion, sound, object, thing, sign, digit, language, gender, said, label, absent, caption.
        value: what stands for {x}.
    """

    about: str
    kind: str
    value: str


@dataclass(frozen=True)
class Said:
    """A text, and the facts it claims: any row that has them all fits it."""

    text: str
    facts: frozenset[Fact]


def facts_of(example: Example) -> tuple[Fact, ...]:
    """What is true of a row, by its labels and captions; of clip world's, by its script."""
    source = example.media[0].source if example.media else ""
    if isinstance(source, str) and source.startswith("clip-world://"):
        from unifusion.world.render import parse_reference

        return (*_world_facts(parse_reference(source)), Fact(CLIP, "caption", example.texts.get("caption", "")))
    labels, kind = example.labels, example.media[0].kind if example.media else ""
    found: list[Fact] = []
    shown, said = labels.get("face_emotion"), labels.get("voice_emotion")
    feels = labels.get("emotion")
    found += [Fact(SIGHT, "face", adjective(str(shown)))] if shown else []
    found += [Fact(SOUND, "voice", adjective(str(said)))] if said else []
    if feels and not shown and not said:
        about, how = {"image": (SIGHT, "face"), "audio": (SOUND, "voice")}.get(kind, (CLIP, "emotion"))
        found.append(Fact(about, how, adjective(str(feels))))
    for key, about in (("sound", SOUND), ("digit", SOUND), ("language", SOUND), ("gender", SOUND), ("label", CLIP)):
        if labels.get(key):
            found.append(Fact(about, key, str(labels[key])))
    if example.texts.get("transcript") and kind != "image":
        found.append(Fact(SOUND, "said", example.texts["transcript"]))
    told = labels.get("captions") or ([example.texts["caption"]] if example.texts.get("caption") else [])
    found += [Fact(CLIP, "caption", str(text)) for text in told]
    return tuple(found)


def _world_facts(script: Script) -> list[Fact]:
    """What is true of a rendered clip."""
    found: list[Fact] = []
    if script.identity is not None:
        found.append(Fact(SIGHT, "face", adjective(face_emotion(script))))
    for thing in script.objects:
        found.append(Fact(SIGHT, "object", f"{object_name(thing)} {phrasings()['moves'][thing.direction]}"))
        found.append(Fact(SIGHT, "thing", object_name(thing)))
    if script.sign is not None:
        found.append(Fact(SIGHT, "sign", script.sign.text))
    if script.utterance is not None:
        said = script.utterance
        found.append(Fact(SOUND, "voice", adjective(said.emotion)))
        found += [Fact(SOUND, "language", said.language), Fact(SOUND, "said", said.text)]
    found += [Fact(SOUND, "sound", kind_name(s.kind)) for s in script.sounds]
    absent = (("picture", script.has_picture), ("sound", script.has_sound))
    return found + [Fact(CLIP, "absent", name) for name, there in absent if not there]


class Describer:
    """Says facts in words.

    Args:
        path: a YAML file such as `train/phrasings/align.yaml`.

    Raises:
        ConfigError: it has no such form.
    """

    def __init__(self, path: str | Path) -> None:
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        if not isinstance(raw, Mapping) or not isinstance(raw.get("facts"), Mapping):
            raise ConfigError(f"{path} has no phrasings of facts;", remedy="write facts: {kind: [..{x}..]}.")
        self.forms: Mapping[str, Sequence[str]] = raw["facts"]
        self.words: Mapping[str, Mapping[str, Sequence[str]]] = raw.get("words") or {}
        self.sentences: Mapping[str, Mapping[str, Sequence[str]]] = raw.get("sentences") or {}
        self.joints: Sequence[str] = raw.get("joints") or [" "]
        self.around: Sequence[str] = raw.get("around") or []

    def phrase(self, fact: Fact, rng: random.Random, *, plain: bool = False) -> str:
        """Say one fact; `plain` takes the first way alone."""
        if fact.kind == "caption":
            return fact.value
        whole = self.sentences.get(fact.kind, {}).get(fact.value)
        if whole and not plain and rng.random() < 0.3:
            return rng.choice(list(whole))
        names = list(self.words.get(fact.kind, {}).get(fact.value) or [fact.value])
        x = names[0] if plain else rng.choice(names)
        bare = x in phrasings()["no_article"] or x.endswith(("ing", "s")) or fact.kind not in ("sound", "object", "thing")
        a_x = x if bare else an(x)
        form = self.forms.get(fact.kind, ["{x}"])
        return (form[0] if plain else rng.choice(list(form))).format(x=x, a_x=a_x, A_x=a_x[:1].upper() + a_x[1:])

    def say(self, facts: Sequence[Fact], about: str, key: str, *, most: int = 4) -> Said | None:
        """Make a text of some of the facts that are about one thing; None where there are none.

        Args:
            facts: of a row.
            about: sight, sound or clip.
            key: what the draw depends on, such as seed, row and epoch.
            most: facts in a text.
        """
        rng = random.Random(f"{key}/{about}")
        own = [f for f in facts if about == CLIP or f.about == about or (f.about == CLIP and f.kind in ("label", "absent"))]
        captions = [f for f in own if f.kind == "caption"]
        others = [f for f in own if f.kind != "caption"]
        if captions and (not others or rng.random() < 0.4):
            chosen = rng.choice(captions)
            return Said(chosen.value, frozenset({chosen}))
        if not others:
            return None
        # Long texts are as frequent as short ones: what tells clips apart is in the long ones.
        some = rng.sample(others, min(len(others), rng.choice([1, 2, 3, most, len(others)])))
        seen = {f.value for f in some if f.kind == "object"}
        some = [f for f in some if not (f.kind == "thing" and any(v.startswith(f.value) for v in seen))]
        return Said(self._joined(some, rng), frozenset(some))

    def again(self, said: Said, key: str, facts: Sequence[Fact] = ()) -> Said:
        """The same facts in other words and in another order; of a caption another one of the row, or, where it has one alone, the same
        with words left out or replaced (`media.augment`).

        Args:
            said: a text.
            key: what the draw depends on, such as seed, row and epoch.
            facts: of its row.
        """
        rng = random.Random(f"{key}/again")
        some = sorted(said.facts, key=lambda f: (f.about, f.kind, f.value))
        if any(f.kind == "caption" for f in some):
            others = [f.value for f in facts if f.kind == "caption" and f not in said.facts]
            if others:
                return Said(rng.choice(others), said.facts)
            return Said(augmented_text(said.text, _CHANGED, key=f"{key}/again"), said.facts)
        rng.shuffle(some)
        return Said(self._joined(some, rng), said.facts)

    def _joined(self, facts: Sequence[Fact], rng: random.Random) -> str:
        """Facts said one behind the other."""
        text = ""
        for fact in facts:
            part = self.phrase(fact, rng)
            joint = rng.choice(list(self.joints)) if text else ""
            text = f"{text.rstrip('.') if joint.strip() else text}{joint}{part}"
        if self.around and rng.random() < _AROUND:
            return rng.choice(list(self.around)).format(text=f"{text[:1].lower()}{text[1:].rstrip('.')}")
        return text

    def fits(self, said: Said, facts: frozenset[Fact]) -> bool:
        """Whether a text is true of a row."""
        return said.facts <= facts


