"""What is asked of clip world in training: its own questions, the prompt manager's phrasings, and clips read out second by second."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch.utils.data import Dataset

from unifusion import catalog
from unifusion.conversation import Media
from unifusion.datasets.clip_world import example_of
from unifusion.errors import DatasetError
from unifusion.processor import OpenedMedia, UniFusionProcessor
from unifusion.training.clip_cache import ClipCache
from unifusion.training.talks import Turn, TurnsRow, media_prefix, text_prefix, turns_row
from unifusion.world.captions import adjective, caption, dense_description
from unifusion.world.circumplex import POSITIONS
from unifusion.world.families_picture import face_emotion
from unifusion.world.families_sound import voice_is_clear
from unifusion.world.phrases import window_truth
from unifusion.world.questions import Question, ask
from unifusion.world.render import reference
from unifusion.world.script import EMOTIONS, SOUNDS, Script

__all__ = ["WorldTalks", "read_out", "with_sound_of", "without"]

TASK_OF = {
    "overall_emotion": "emotion", "emotion_rationale": "emotion_rationale", "valence_arousal": "valence_arousal", "caption": "caption",
    "dense_description": "dense_description", "sound_kind": "sound", "match": "match", "which_of": "which_of", "face_change": "when",
    "voice_start": "when", "sound_start": "when", "object_appears": "when", "word_time": "when",
}  # fmt: skip
"""Question family -> task whose prompt template asks the same; every other family is open_qa."""

_CHAT_TOKENS = 640
OPTIONS: dict[str, Any] = {
    "template": 0.3, "chat": 0.2, "long": 0.2, "read": 0.0, "moments": 0, "compare": 0, "shown": 0, "again": 0, "rare": 0, "limit": 640,
    "counterfactual": 0.0,
}  # fmt: skip
"""What may be chosen of a row, see WorldTalks, with what it is where nothing is."""
RELATIONS = (
    "object_colour", "object_size", "object_direction", "object_seen", "action_unit_seen", "sound_seen", "word_seen", "on_screen_at",
    "appears_after", "louder_while", "object_appears", "match", "which_of", "sound_start", "word_time", "count_strokes", "chord",
    "agreement", "word_spoken",
)  # fmt: skip
"""Families whose answer is one thing among several of a clip, or a relation between two."""
RARE = ("sound_seen", "word_seen", "chord", "count_strokes", "louder_while", "object_size")

_OBVIOUS = (
    "a face",
    "a voice",
    "no objects",
    "one object",
    "two objects",
    "three objects",
    "no sign",
    "no sound event",
    "voice louder than the noise",
)


def without(script: Script, muted: Sequence[str]) -> Script:
    """The script as somebody knows it who does not get some streams: questions about them become refusals."""
    if "video" in muted:
        script = replace(
            script,
            has_picture=False,
            identity=None,
            expressions=(),
            objects=(),
            sign=None,
            agreement="",
            profile={**script.profile, "scene": "plain"},
        )
    if "audio" in muted:
        script = replace(
            script, has_sound=False, utterance=None, sounds=(), background=None, agreement="", profile={**script.profile, "scene": "plain"}
        )
    return script


def with_sound_of(script: Script, other: Script) -> Script:
    """The script of a clip whose sound is another's: what is true of picture and sound together is true of these two."""
    said = other.utterance
    agreement = "" if script.identity is None or said is None else "agree" if face_emotion(script) == said.emotion else "conflict"
    profile = {**script.profile, "scene": "plain"}
    heard = {"has_sound": other.has_sound, "utterance": said, "sounds": other.sounds, "background": other.background}
    return replace(script, **heard, agreement=agreement, profile=profile)  # type: ignore[arg-type]


def moment(script: Script, start_s: float, end_s: float) -> str:
    """What is true from `start_s` to `end_s`, in phrases: those of the picture, a semicolon, those of the sound."""
    told = []
    for stream, there in (("video", script.has_picture), ("audio", script.has_sound)):
        truth = window_truth(script, stream, start_s, end_s) if there else {}
        told.append(", ".join(p for p, v in truth.items() if v and p not in _OBVIOUS) or "nothing")
    return "; ".join(told)


def read_out(script: Script, *, window_s: float = 1.0, stamps: bool = True) -> str:
    """The clip in words, window by window: `t=0.0s happy face, red circle; bark` .., from the truth."""
    pieces = []
    for k in range(round(script.duration_s / window_s)):
        pieces.append((f"t={k * window_s:.1f}s " if stamps else "") + moment(script, k * window_s, (k + 1) * window_s))
    absent = [f"no {name}. " for name, there in (("video", script.has_picture), ("audio", script.has_sound)) if not there]
    return "".join(absent) + " ".join(pieces)


def _asked(script: Script, rng: random.Random, count: int) -> list[Turn]:
    """Questions about some of the clip's seconds."""
    seconds = rng.sample(range(round(script.duration_s)), min(count, round(script.duration_s)))
    asked = ("What is there at {k} s?", "What do you see and hear at second {k}?", "Read out t={k}.0s.", "What happens at {k} seconds?")
    return [(rng.choice(asked).format(k=k), moment(script, k, k + 1)) for k in seconds]


def _compared(script: Script, rng: random.Random, count: int) -> list[Turn]:
    """Questions that set the face's emotion against the voice's, on scales where each of them tells a part.

    Whether the two agree tells nothing from either alone, so that nothing leads a model to look at both; which is higher does.
    """
    said = script.utterance
    if script.identity is None or said is None or not voice_is_clear(script):
        return []
    asked = ("Which is more {}, the face or the voice?", "Face and voice: which emotion is more {}?", "Is the face or the voice more {}?")
    turns = []
    for scale, word in rng.sample(list(enumerate(("positive", "excited"))), count):
        face, voice = POSITIONS[face_emotion(script)][scale], POSITIONS[said.emotion][scale]
        answer = "the same" if face_emotion(script) == said.emotion else "the face" if face > voice else "the voice"
        turns.append((rng.choice(asked).format(word), answer))
    return turns


_SHOWN = {
    "face": ("Is the face {}?", "Does the person look {}?", "Does the face look {}?"),
    "voice": ("Is the voice {}?", "Does the person sound {}?", "Does the voice sound {}?"),
}
_WHICH = ("Which is {}, the face or the voice?", "Face or voice: which of them is {}?", "What is {}, the face or the voice?")


def _shown(script: Script, rng: random.Random) -> list[Turn]:
    """Whether the face is of an emotion, whether the voice is, and which of both; each is asked for both of its answers.

    To tell whether what is asked for is what is perceived comes late, and is learnt from clips where both are told without fail.
    """
    said = script.utterance
    if script.identity is None or said is None or not voice_is_clear(script):
        return []
    emotions = {"face": face_emotion(script), "voice": said.emotion}
    turns = []
    for stream, own in emotions.items():
        other = emotions["voice" if stream == "face" else "face"]
        wrong = other if other != own else rng.choice([e for e in EMOTIONS if e != own])
        turns += [(rng.choice(_SHOWN[stream]).format(adjective(e)), "yes" if e == own else "no") for e in (own, wrong)]
        if other != own:
            turns.append((rng.choice(_WHICH).format(adjective(own)), f"the {stream}"))
    return turns


def _hearing(opened: OpenedMedia, lender: OpenedMedia) -> OpenedMedia:
    """A clip with the sound of another one, neither decoded nor encoded again."""
    kept = {name: item for name, item in opened.streams.items() if opened.reports[name].modality != "audio"}
    lent = {name: item for name, item in lender.streams.items() if lender.reports[name].modality == "audio"}
    reports = {name: (lender if r.modality == "audio" else opened).reports[name] for name, r in opened.reports.items()}
    return replace(opened, streams={n: s for n in opened.reports for s in [kept.get(n, lent.get(n))] if s is not None}, reports=reports)


class WorldTalks(Dataset[TurnsRow]):
    """One row per clip and epoch, with several turns.

    Everything random is a function of (seed, row): which questions, whose phrasings, what is muted.

    Args:
        cache: rendered clips; only their scripts are read.
        processor: makes the rows; its opener gives features (or decodes).
        mode: `text` (the clip read out instead of shown), `captions` (shown, described) or `questions` (shown, asked about).
        epochs: passes over the clips, each with other questions.
        per_clip: turns of a row.
        mute: share of rows in which one stream is muted (and a tenth of that, both).
        template: share of turns in the prompt manager's words.
        long: share of the questions with a free answer (captions, rationales) that are kept: one has the tokens of thirty others.
        read: share of rows of the other modes that are described and read out instead of asked about.
        compare: turns that set the face's emotion against the voice's, 2 at most.
        shown: how many times it is asked whether face and voice are of an emotion, and which of them is.
        moments: turns that ask what is there in one second; every phrase of the answer must be read from that second's tokens.
        again: how many more times a clip is asked what needs one thing to be found among several (RELATIONS), each time about others.
        rare: how many more times still the families that few clips give and that are learnt late (RARE).
        chat: share of rows whose turns follow each other as in a chat instead of standing apart.
        counterfactual: share of rows in which a clip has another one's sound: the same picture is met with other answers to what is asked
            of the sound, and of both, so that neither stream can be told from the other one.
        limit: most tokens of a row; a chat's are fewer, since each of its turns stands further on.
    """

    def __init__(
        self, cache: ClipCache, processor: UniFusionProcessor, *, mode: str, epochs: int = 1, per_clip: int = 6, mute: float = 0.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.cache, self.processor, self.mode, self.epochs, self.per_clip, self.mute = cache, processor, mode, epochs, per_clip, mute
        given = {"seed": 0, **OPTIONS, **(options or {})}
        self.template, self.chat, self.long, self.read = (given[k] for k in ("template", "chat", "long", "read"))
        self.moments, self.compare, self.shown = (given[k] for k in ("moments", "compare", "shown"))
        self.again, self.rare, self.counterfactual = given["again"], given["rare"], given["counterfactual"]
        self.limit, self.seed = given["limit"], given["seed"]
        self._tasks: dict[tuple[str, int], Any] = {}

    def __len__(self) -> int:
        """Rows: clips times epochs."""
        return len(self.cache) * self.epochs

    def __getitem__(self, index: int) -> TurnsRow:
        """One row."""
        epoch, clip = divmod(index, len(self.cache))
        rng = random.Random(hashlib.sha256(f"{self.seed}/{self.mode}/{epoch}/{clip}".encode()).digest())
        script = self.cache.script(clip)
        muted = self._muted(rng)
        lender = self._lender(clip, epoch) if self.mode != "text" else None
        known = without(script if lender is None else with_sound_of(script, lender), muted)
        seed = self.seed + 1 + epoch
        if self.mode == "captions" or rng.random() < self.read:
            turns = self._captions(known, rng)
        else:
            found = [q for q in ask(known, seed=seed) if q.checker != "free" or rng.random() < self.long][: self.per_clip]
            for other in range(1, self.again + self.rare + 1):
                asked, families = {q.text for q in found}, RELATIONS if other <= self.again else RARE
                found += [q for q in ask(known, families=families, seed=seed + 10_000 * other) if q.text not in asked]
            rng.shuffle(found)
            turns = [self._turn(known, q, rng, seed) for q in found]
            if known.has_picture or known.has_sound:
                shown = [turn for _ in range(self.shown) for turn in _shown(known, rng)]
                turns = [*_asked(known, rng, self.moments), *_compared(known, rng, self.compare), *shown, *turns]
        apart = rng.random() >= self.chat
        if self.mode == "text":
            prefix = text_prefix(self.processor, read_out(known), f"clip {clip}")
        else:
            media = Media(kind="video", source=reference(script), mute=muted)
            opened = self.processor.opener.open(media)
            if lender is not None:
                opened = _hearing(opened, self.processor.opener.open(replace(media, source=reference(lender))))
            prefix = media_prefix(self.processor, [opened], f"clip {clip}")
        if not turns:
            turns = [("What happens in the clip?", caption(known))]
        return turns_row(self.processor, prefix, turns, apart=apart, limit=self.limit if apart else min(self.limit, _CHAT_TOKENS))

    def _muted(self, rng: random.Random) -> tuple[str, ...]:
        """Streams left out of this row."""
        x = rng.random()
        if x < 0.1 * self.mute:
            return ("video", "audio")
        return (rng.choice(("video", "audio")),) if x < self.mute else ()

    def _lender(self, clip: int, epoch: int) -> Script | None:
        """Whose sound is heard in this row's clip; None for its own."""
        rng = random.Random(f"{self.seed}/lender/{epoch}/{clip}")
        if rng.random() >= self.counterfactual or len(self.cache) < 2:
            return None
        other = self.cache.script((clip + 1 + rng.randrange(len(self.cache) - 1)) % len(self.cache))
        script = self.cache.script(clip)
        return other if other.has_sound and script.has_sound and script.has_picture else None

    def _captions(self, script: Script, rng: random.Random) -> list[Turn]:
        """Caption, description with times, and the clip read out window by window."""
        read = ("Read the clip out second by second.", read_out(script))
        found = [read, (rng.choice(("Describe the clip.", "What happens in the clip?", "Give a caption.")), caption(script))]
        if script.utterance is None or script.utterance.words:
            found.append(("Describe the clip in detail with times.", dense_description(script)))
        rng.shuffle(found)
        return found

    def _turn(self, script: Script, question: Question, rng: random.Random, seed: int) -> Turn:
        """A question in clip world's words, or in the prompt manager's."""
        plain = (question.text, question.answer)
        if rng.random() >= self.template or question.labels.get("refusal"):
            return plain
        name = TASK_OF.get(question.family, "open_qa")
        key = (name, seed)
        if key not in self._tasks:
            self._tasks[key] = catalog.load("tasks", name)(seed=seed, labels=SOUNDS if name == "sound" else None)
        try:
            talk = self._tasks[key].conversation(example_of(script, question), with_answer=True)
        except DatasetError:  # a label outside the task's default set (contempt): asked in plain words
            return plain
        user, assistant = talk.messages[-2], talk.messages[-1]
        return user.text, assistant.text
