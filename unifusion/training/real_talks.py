"""What is asked of real recordings and pictures in training: their labels, what was measured of their voices, and what is missing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset

from unifusion import catalog
from unifusion.conversation import Conversation, Example, Media, Mix, Take
from unifusion.datasets.mixture import Mixture
from unifusion.limits import Limits
from unifusion.media.augment import retake
from unifusion.media.prosody import Prosody, measure_prosody
from unifusion.processor import UniFusionProcessor
from unifusion.processor.messages import to_conversation
from unifusion.processor.opening import decode
from unifusion.training.choices import shared_yaml
from unifusion.training.facts import Facts, altered, caption_of, evidence_of, facts_of, turns_of
from unifusion.training.grammar import Grammar
from unifusion.training.kept import RowKey, row_key
from unifusion.training.pieces import any_colour
from unifusion.training.talks import Turn, TurnsRow, media_prefix, text_prefix, told_turns, turns_row

__all__ = ["Blend", "RealTalks", "asked_mixture", "measured_prosody", "texts_of"]

VIEWS = 3
"""Ways in which a picture is shown: as it is, and moved like a hand-held shot."""
TAKES = 12
"""Ways in which a recording is heard: as it is, and as by other microphones, with or without another sound behind it."""
_GAIN_DB = 6.0
"""Deviation of the level of sounds and digits from their own; that of a voice stays, since it is asked for."""
_SOFTER_DB = (-26.0, -6.0)
"""Half of them are softer still: one microphone is 20 dB softer than another, and a word is no other word for it."""
_LINES = 10
_LABELS = ("emotion", "sound", "digit")
_DESCRIBED = 0.3
"""Share of rows that are to be described in words."""
_MATCHED = 0.3
"""Share of rows of which a description is to be judged."""
_PARTED = 0.2
"""Share of faces with a voice and nothing behind it that are shown as two clips."""
_FEELING = 0.75
"""Share of lines with an emotion that are asked for it; the others are to be gone on with."""
_GO_ON = ("Go on:", "Continue:", "Complete this:", "How does this go on?")
_WITHOUT_LABELS = ("digit", "valence_arousal")
"""Tasks that offer no labels, or always the same ones."""
_QUOTES = ('Somebody says: "{}" ', '"{}" ', 'A person says: "{}" ', "Line: {} ", 'In a talk: "{}" ')


class RealTalks(Dataset[TurnsRow]):
    """Rows of a mixture with several turns each; rows without media are asked about ten at a time, conversations are told as they are.

    Everything random is a function of (seed, row).

    Args:
        mixture: its rows are drawn by weight.
        processor: makes the rows; its opener gives features.
        grammar: the questions' words.
        count: rows.
        options: `template` (share of rows asked in the prompt manager's words too), `long` (share asked for evidence), `mute` (share of
            rows with both streams in which one is muted), `chat` (share whose turns follow each other), `limit` (most tokens) and `seed`.
    """

    def __init__(
        self, mixture: Mixture, processor: UniFusionProcessor, grammar: Grammar, *, count: int, options: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        self.mixture, self.processor, self.grammar, self.count = mixture, processor, grammar, count
        given = {"template": 0.7, "long": 0.3, "mute": 0.15, "chat": 0.15, "limit": 1100, "seed": 0, **(options or {})}
        self.template, self.long, self.mute, self.chat = (given[k] for k in ("template", "long", "mute", "chat"))
        self.limit, self.seed = given["limit"], given["seed"]
        rows = [r for r in mixture.every() if r.media and "sound" in r.labels and r.media[0].kind == "audio"]
        self.sounds = tuple(sorted({str(r.labels["sound"]) for r in rows}))
        self._behind = [r.media[0] for r in rows]
        self._sets = {name: {key: _labels(part, key) for key in _LABELS} for name, part in mixture.parts.items()}
        self._prosody: dict[tuple[RowKey, Take], Prosody | None] = {}

    def __len__(self) -> int:
        """Rows."""
        return self.count

    def row_of(self, index: int) -> tuple[str, Example, tuple[Media, ...]]:
        """The part, the row and the view of it that training shows: one clip, a face and its voice apart, or none."""
        part, number = self.mixture.place(index)
        example = self.mixture.parts[part][number]
        if (talk := _told(example)) is not None:
            return part, example, talk.media
        return part, example, self._view(example, index) if example.media else ()

    def media(self, indices: Iterable[int]) -> list[Media]:
        """Every clip that some rows show, once each."""
        return list(dict.fromkeys(m for i in indices for m in self.row_of(i)[2]))

    def __getitem__(self, index: int) -> TurnsRow:
        """One row."""
        if not 0 <= index < self.count:
            raise IndexError(f"row {index} of {self.count}")
        rng = random.Random(f"{self.seed}/talk {index}")
        part, example, media = self.row_of(index)
        if (talk := _told(example)) is not None:
            prefix = media_prefix(self.processor, [self.processor.opener.open(m) for m in media], example.id)
            return turns_row(self.processor, prefix, told_turns(talk), apart=False, limit=self.limit)
        if not media:
            return self._lines(part, index, rng)
        prosody = self._measured(example, media[-1])
        facts = facts_of(example, prosody)
        both = facts.picture and facts.sound and len(media) == 1
        muted = (rng.choice(("video", "audio")),) if both and rng.random() < self.mute else ()
        opened = [self.processor.opener.open(replace(m, mute=muted)) for m in media]
        added = any(isinstance(m.source, Mix) and m.source.background is not None for m in media)
        known = replace(facts, alone=facts.alone and not added).without(_lacking(opened))
        turns = [*self._templates(part, known, example, rng), *turns_of(known, self.grammar, rng, sounds=self.sounds)]
        if known.emotion and rng.random() < self.long:
            evidence = evidence_of(known, prosody, max(o.duration_s for o in opened))
            turns.append(self._asked("emotion_rationale", part, {"emotion": known.emotion, "evidence": evidence}, example, rng))
        prefix = media_prefix(self.processor, opened, example.id)
        apart = rng.random() >= self.chat
        return turns_row(self.processor, prefix, turns, apart=apart, limit=self.limit if apart else min(self.limit, 640))

    def _templates(self, part: str, known: Facts, example: Example, rng: random.Random) -> list[Turn]:
        """The row's label in the prompt manager's words, among the labels of its set in any order; valence and arousal."""
        answer = {"emotion": known.emotion, "sound": known.told.get("sound"), "digit": known.told.get("digit")}
        turns = []
        for name, label in answer.items():
            if not label or rng.random() >= self.template:
                continue
            turns.append(self._asked(name, part, {name: label}, example, rng))
        if rng.random() < _DESCRIBED:
            described = caption_of(known)
            task = catalog.load("tasks", "caption")(seed=rng.randrange(10**6))
            asked = [self.grammar.ask("describe", rng), task.conversation(example).messages[-1].text]
            turns.append((rng.choice(asked), described))
        if rng.random() < _MATCHED:
            wrong = altered(known, rng, self.sounds) if rng.random() < 0.5 else None
            turns.append((self.grammar.ask("match", rng, {"thing": caption_of(wrong or known)}), "no" if wrong else "yes"))
        if known.affect is not None and rng.random() < self.template / 2:
            valence, arousal = known.affect
            turns.append(self._asked("valence_arousal", part, {"valence": valence, "arousal": arousal}, example, rng))
        return turns

    def _asked(self, name: str, part: str, labels: Mapping[str, Any], example: Example, rng: random.Random) -> Turn:
        """A task's question and answer; the labels of the row's set are offered in any order."""
        offered = None
        if name not in _WITHOUT_LABELS:
            key, truth = next(iter(labels.items()))
            offered = list(dict.fromkeys([*self._sets[part][key], truth]))
            rng.shuffle(offered)
        task = catalog.load("tasks", name)(seed=rng.randrange(10**6), labels=offered)
        talk = task.conversation(replace(example, labels=labels), with_answer=True)
        return talk.messages[-2].text, talk.messages[-1].text

    def _lines(self, part: str, index: int, rng: random.Random) -> TurnsRow:
        """Lines of text, asked about without a clip."""
        rows = self.mixture.parts[part]
        turns = [self._line(rows[rng.randrange(len(rows))], rng) for _ in range(_LINES)]
        return turns_row(self.processor, text_prefix(self.processor, "", f"{part} {index}"), turns, apart=True, limit=self.limit)

    def _line(self, row: Example, rng: random.Random) -> Turn:
        """The emotion of a line, the answer to a question, or how a text goes on."""
        if "question" in row.texts and "answer" in row.texts:
            return row.texts["question"].strip(), row.texts["answer"]
        text = row.texts.get("transcript") or row.texts.get("caption") or ""
        if "emotion" in row.labels and rng.random() < _FEELING:
            asked = self.grammar.ask("text_emotion", rng)
            if rng.random() < 0.3:
                asked = catalog.load("tasks", "emotion")(seed=rng.randrange(10**6)).conversation(row).messages[-1].text
            return rng.choice(_QUOTES).format(text) + asked, str(row.labels["emotion"])
        words = text.split()
        cut = rng.randrange(len(words) + 1) if len(words) < 4 else rng.randrange(2, len(words) - 1)
        return f"{rng.choice(_GO_ON)} {' '.join(words[:cut])}", " ".join(words[cut:]) or "."

    def _view(self, example: Example, index: int) -> tuple[Media, ...]:
        """A row's clip as it is, or changed in one of few ways, so that each is encoded once; some faces and voices as two clips."""
        media = example.media[0]
        rng = random.Random(f"{self.seed}/view {index}")
        if media.kind == "audio":
            return (self._heard(example, rng.randrange(TAKES)),)
        if isinstance(media.source, Mix):
            mix = media.source
            if mix.still is not None and mix.voice is not None and mix.background is None and rng.random() < _PARTED:
                return mix.still, mix.voice
            take = Take(**any_colour(random.Random(f"{self.seed}/{example.id}")))  # one a row, however often it is met: encoded once
            return (replace(media, source=replace(mix, take=take)) if rng.random() < 0.5 else media,)
        view = rng.randrange(VIEWS)
        if view == 0 or media.kind == "video":
            return (media,)
        return (Media(kind="video", source=Mix(still=media, seed=random.Random(f"{self.seed}/{example.id}/{view}").randrange(2**31))),)

    def _heard(self, example: Example, view: int) -> Media:
        """A recording as it is (view 0), or in another take; voices and digits in half of these with another sound behind them."""
        media, rng = example.media[0], random.Random(f"{self.seed}/{example.id}/{view}")
        if view == 0 or isinstance(media.source, Mix):
            return media
        take = Take(**any_colour(rng))
        if "emotion" not in example.labels:
            take = replace(take, speed=rng.uniform(0.88, 1.14), gain_db=rng.gauss(0.0, _GAIN_DB))
            level = random.Random(f"{self.seed}/{example.id}/{view}/level")
            if level.random() < 0.5:
                take = replace(take, gain_db=level.uniform(*_SOFTER_DB))
        behind = rng.choice(self._behind) if self._behind and "sound" not in example.labels and rng.random() < 0.5 else None
        return Media(kind="audio", source=Mix(voice=media, take=take, background=behind, snr_db=round(rng.uniform(8.0, 22.0), 1)))

    def _measured(self, example: Example, media: Media) -> Prosody | None:
        """The prosody of a row's voice in the take that is shown, measured once."""
        take = media.source.take if isinstance(media.source, Mix) else Take()
        if (key := (row_key(example), take)) not in self._prosody:
            self._prosody[key] = measured_prosody(example, take)
        return self._prosody[key]


def _told(example: Example) -> Conversation | None:
    """The conversation that a row holds, if it does."""
    messages = example.labels.get("messages")
    return None if messages is None else to_conversation(messages, id=example.id)


def measured_prosody(example: Example, take: Take = Take()) -> Prosody | None:  # noqa: B008 - frozen
    """The prosody of a row's voice by itself, in one take of it; None where its set has no thirds."""
    if "thirds" not in example.labels or not example.media:
        return None
    source = example.media[0].source
    voice = source.voice if isinstance(source, Mix) else example.media[0]
    if voice is None:
        return None
    clip, _ = decode(voice, rate_hz=None, audio=True, max_seconds=30.0, limits=Limits())
    if clip.waveform_N is None:
        return None
    return measure_prosody(clip.waveform_N if take == Take() else retake(clip.waveform_N, clip.sampling_rate_hz, take))


def asked_mixture(
    name: str | None, data: str | None, questions: str, share: float, *, loose: float = 0.0
) -> tuple[Mixture, Grammar, float] | None:
    """A recipe's mixture, how its rows are asked about (see Grammar), and their share; None where it names none."""
    if name is None:
        return None
    return Mixture(shared_yaml("mixtures", name), data=data), Grammar(shared_yaml("questions", questions), loose=loose), share


class Blend(Dataset[TurnsRow]):
    """Rows of one dataset, in a share of which the row of another stands: a function of (seed, row).

    Args:
        first: as long as the blend.
        second: at least as long.
        share: of the rows.
        seed: another seed takes others.
    """

    def __init__(self, first: Any, second: Any, *, share: float, seed: int = 0) -> None:
        self.first, self.second, self.share, self.seed = first, second, share, seed

    def __len__(self) -> int:
        """Rows."""
        return len(self.first)

    def is_second(self, index: int) -> bool:
        """Whether a row is the other dataset's."""
        return random.Random(f"{self.seed}/blend {index}").random() < self.share

    def __getitem__(self, index: int) -> TurnsRow:
        """One row."""
        row: TurnsRow = (self.second if self.is_second(index) else self.first)[index]
        return row


def texts_of(mixture: Mixture, grammar: Grammar, *, per_family: int = 300) -> Iterator[str]:
    """Every text of a mixture's rows, their labels, and many questions of a grammar: what a vocabulary is learnt from."""
    for row in mixture.every():
        yield from (v for k in ("question", "answer", "transcript", "caption") if (v := row.texts.get(k)))
        yield from (str(row.labels[k]) for k in _LABELS if k in row.labels)
    for family in grammar.families:
        yield from (grammar.ask(family, random.Random(i), {"e": "happy", "n": "happiness", "thing": "rain"}) for i in range(per_family))


def _labels(rows: Any, key: str) -> tuple[str, ...]:
    """The labels of a part under one key, in alphabetical order."""
    return tuple(sorted({str(r.labels[key]) for r in rows if key in r.labels and r.media}))


def _lacking(opened: Sequence[Any]) -> tuple[str, ...]:
    """Modalities that none of some clips has, or whose stream is muted."""
    present = {"video" if r.modality == "image" else r.modality for o in opened for r in o.reports.values() if r.present}
    return tuple(m for m in ("video", "audio") if m not in present)
