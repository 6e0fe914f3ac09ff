"""What a person feels in a clip: scored label, valence and arousal, and a rationale that begins with the scored label."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from unifusion import catalog
from unifusion.conversation import Conversation, Example, Media, Message
from unifusion.engine.answers import EmotionAnswer, LabelScores
from unifusion.engine.decoding import decode_batch
from unifusion.engine.labels import score_batch
from unifusion.errors import ConfigError, UniFusionError
from unifusion.prompts import Evidence, Parsed, RationaleAnswer, ValenceArousalAnswer
from unifusion.tasks.task import said_alone

if TYPE_CHECKING:
    from unifusion.batch import ModalityReport
    from unifusion.engine.engine import Engine
    from unifusion.processor import OpenedMedia, Row
    from unifusion.tasks.task import Task

__all__ = ["Moment", "answer_emotions", "answer_moments", "feel_moments", "open_moment", "score_moments"]

_MAX_RATIONALE, _MAX_AFFECT = 160, 24


def answer_emotions(
    engine: Engine, clips: Sequence[Sequence[Media]], *, labels: Sequence[str] | None = None,
    history: Sequence[Sequence[Mapping[str, str]]] = (), said: Sequence[str] = (),
) -> list[EmotionAnswer | UniFusionError]:  # fmt: skip
    """Ask three questions about each of some groups of clips, each question about all groups together; each clip is opened once.

    Args:
        engine: where the model is.
        clips: groups of one or more clips that show one moment.
        labels: the closed set; None takes the task's default.
        history: of each group, what was said before.
        said: of each group, its words, where it has no clip.

    Returns:
        an answer a group, or what went wrong with it.
    """
    began = time.perf_counter()
    context = [{"history": tuple(history[i]) if history else (), "said": said[i] if said else ""} for i in range(len(clips))]
    groups = [_tried(engine, media, labels, known) for media, known in zip(clips, context, strict=True)]
    good = [group for group in groups if isinstance(group, Moment)]
    answers = iter(answer_moments(engine, good, labels) if good else ())
    each_s = (time.perf_counter() - began) / max(len(clips), 1)
    return [replace(next(answers), timing={"total_s": each_s}) if isinstance(group, Moment) else group for group in groups]


@dataclass(frozen=True)
class Moment:
    """Clips of one moment, opened.

    Attributes:
        media: the clips; none where there are words alone.
        opened: the same with their features.
        history: what was said before, `{"speaker", "text"}`, the oldest first.
        said: the words, where there is no clip.
    """

    media: Sequence[Media]
    opened: Sequence[OpenedMedia]
    history: tuple[Mapping[str, str], ...] = ()
    said: str = ""

    @staticmethod
    def task(labels: Sequence[str] | None) -> Task:
        """The question for the label."""
        return _tasks(labels)[0]

    def prompt(self, engine: Engine, task: Task) -> Row:
        """A task's question about them."""
        talk = task.conversation(Example(id="emotion", media=tuple(self.media), labels={"history": self.history}))
        if not self.media:
            bare = task.conversation(Example(id="emotion")).messages[-1].text
            words = said_alone(self.said, talk.messages[-1].text, bare=bare)
            talk = Conversation(messages=(*talk.messages[:-1], Message(role="user", parts=(words,))), id=talk.id)
        return engine.fitting(engine.processor.row(talk, opened=self.opened, generate=True), talk)

    @property
    def calibration(self) -> str:
        """Whose temperature and biases hold: what was fitted on clips does not hold for words alone."""
        return "emotion" if self.media else "text_emotion"


def open_moment(
    engine: Engine, media: Sequence[Media], labels: Sequence[str] | None, *, history: Sequence[Mapping[str, str]] = (), said: str = ""
) -> Moment:
    """Decode and encode the clips of one moment.

    Raises:
        UniFusionError: one cannot be decoded, they are too long together, or there is neither clip nor word.
    """
    if not media and not said:
        raise ConfigError("neither a clip nor words to tell an emotion from;", remedy="give one of them.")
    group = Moment(media, [engine.open(m)[0] for m in media], tuple(history), said)
    group.prompt(engine, _tasks(labels)[1])
    return group


def _tried(engine: Engine, media: Sequence[Media], labels: Sequence[str] | None, context: Mapping[str, Any]) -> Moment | UniFusionError:
    """The same, or what is wrong."""
    try:
        return open_moment(engine, media, labels, **context)
    except UniFusionError as error:
        return error


def _tasks(labels: Sequence[str] | None) -> tuple[Task, Task, Task]:
    """Label, rationale (the longest question), valence and arousal."""
    label, why, affect = (catalog.load("tasks", name) for name in ("emotion", "emotion_rationale", "valence_arousal"))
    return label(labels=labels), why(labels=labels), affect()


def score_moments(engine: Engine, groups: Sequence[Moment], labels: Sequence[str] | None) -> list[LabelScores]:
    """The labels of one batch by likelihood, calibrated.

    Raises:
        CheckpointError: a likelihood is not a number.
    """
    task = _tasks(labels)[0]
    rows = [group.prompt(engine, task) for group in groups]
    scored = score_batch(engine.model, engine.processor, rows, [task.labels] * len(rows))
    return [engine.calibrated(s, group.calibration).checked() for group, s in zip(groups, scored, strict=True)]


def feel_moments(engine: Engine, groups: Sequence[Moment]) -> list[tuple[float | None, float | None]]:
    """Valence and arousal of one batch; None where the answer cannot be read."""
    affect = _tasks(None)[2]
    said = _generate(engine, [group.prompt(engine, affect) for group in groups], _MAX_AFFECT, [""] * len(groups))
    parsed = [affect.template.parse(text) for text in said]
    return [(p.valence, p.arousal) if isinstance(p, ValenceArousalAnswer) else (None, None) for p in parsed]


def answer_moments(engine: Engine, groups: Sequence[Moment], labels: Sequence[str] | None) -> list[EmotionAnswer]:
    """All three answers of one batch."""
    why = _tasks(labels)[1]
    scored = score_moments(engine, groups, labels)
    begun = [f"Emotion: {scores.best}." for scores in scored]
    reasons = _generate(engine, [group.prompt(engine, why) for group in groups], _MAX_RATIONALE, begun)
    told = zip(scored, reasons, feel_moments(engine, groups), strict=True)
    return [_answer(scores, text, why.template.parse(text, choices=why.labels), felt) for scores, text, felt in told]


def _answer(scores: LabelScores, text: str, reason: Parsed, felt: tuple[float | None, float | None]) -> EmotionAnswer:
    """What the three answers say together."""
    report = scores.report
    found = reason.evidence if isinstance(reason, RationaleAnswer) else ()
    evidence = [e for e in found if _perceived(e, report)]
    if len(evidence) < len(found):  # a small model names a voice where there was none; the report is what is true
        lines = [f"{e.stream.capitalize()} {e.start_s:.1f}-{e.end_s:.1f} s: {e.text}." for e in evidence]
        text = "\n".join([f"Emotion: {scores.best}.", *lines])
        report.notes.append(f"{len(found) - len(evidence)} piece(s) of evidence left out: named in streams or at times the clip has not.")
    return EmotionAnswer(
        label=scores.best, probabilities=dict(zip(scores.labels, scores.probabilities, strict=True)), valence=felt[0], arousal=felt[1],
        rationale=text, evidence=[e.to_dict() for e in evidence], report=report,
    )  # fmt: skip


def _generate(engine: Engine, rows: Sequence[Row], max_new_tokens: int, begun: Sequence[str]) -> list[str]:
    """Greedy answers of some rows, each forced to begin as told."""
    given = [engine.processor.text.user(text) for text in begun]
    for row, ids in zip(rows, given, strict=True):
        row.add(ids)
    said = decode_batch(
        engine.model, engine.processor.collate(rows, side="left").to(engine.model.device), end_ids=engine.processor.end_ids,
        max_new_tokens=[min(max_new_tokens, engine.context - len(row.ids)) for row in rows],
        pad_id=engine.processor.tokenizer.pad_token_id,
    )  # fmt: skip
    tokenizer = engine.processor.tokenizer
    return [str(tokenizer.decode(ids + new, skip_special_tokens=True)).strip() for ids, new in zip(given, said, strict=True)]


def _perceived(evidence: Evidence, report: ModalityReport) -> bool:
    """Whether the clip has the stream that evidence is said to come from, at that time."""
    modalities = ("video", "image") if evidence.stream == "picture" else ("audio",)
    return any(s.present and s.modality in modalities and evidence.start_s < s.seconds for s in report.streams.values())
