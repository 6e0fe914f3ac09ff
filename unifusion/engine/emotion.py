"""What a person feels in a clip: scored label, valence and arousal, and a rationale that begins with the scored label."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.engine.answers import EmotionAnswer, LabelScores
from unifusion.engine.decoding import decode_batch
from unifusion.engine.labels import score_batch
from unifusion.errors import UniFusionError
from unifusion.prompts import Evidence, Parsed, RationaleAnswer, ValenceArousalAnswer

if TYPE_CHECKING:
    from unifusion.batch import ModalityReport
    from unifusion.engine.engine import Engine
    from unifusion.processor import OpenedMedia, Row
    from unifusion.tasks.task import Task

__all__ = ["Moment", "answer_emotions"]

_MAX_RATIONALE, _MAX_AFFECT = 160, 24


def answer_emotions(
    engine: Engine, clips: Sequence[Sequence[Media]], *, labels: Sequence[str] | None = None
) -> list[EmotionAnswer | UniFusionError]:  # fmt: skip
    """Ask three questions about each of some groups of clips, each question about all groups together; each clip is opened once.

    Args:
        engine: where the model is.
        clips: groups of one or more clips that show one moment.
        labels: the closed set; None takes the task's default.

    Returns:
        an answer a group, or what went wrong with it.
    """
    began = time.perf_counter()
    groups = [_opened(engine, media, labels) for media in clips]
    good = [group for group in groups if isinstance(group, Moment)]
    answers = iter(_answers(engine, good, labels) if good else ())
    each_s = (time.perf_counter() - began) / max(len(clips), 1)
    return [replace(next(answers), timing={"total_s": each_s}) if isinstance(group, Moment) else group for group in groups]


@dataclass(frozen=True)
class Moment:
    """Clips of one moment, opened."""

    media: Sequence[Media]
    opened: Sequence[OpenedMedia]

    @staticmethod
    def task(labels: Sequence[str] | None) -> Task:
        """The question for the label."""
        return _tasks(labels)[0]

    def prompt(self, engine: Engine, task: Task) -> Row:
        """A task's question about them."""
        talk = task.conversation(Example(id="emotion", media=tuple(self.media)))
        return engine.fitting(engine.processor.row(talk, opened=self.opened, generate=True), talk)


def _opened(engine: Engine, media: Sequence[Media], labels: Sequence[str] | None) -> Moment | UniFusionError:
    """The clips of one group, or what is wrong with one of them, or that they are too long together."""
    try:
        group = Moment(media, [engine.open(m)[0] for m in media])
        group.prompt(engine, _tasks(labels)[1])
    except UniFusionError as error:
        return error
    return group


def _tasks(labels: Sequence[str] | None) -> tuple[Task, Task, Task]:
    """Label, rationale (the longest question), valence and arousal."""
    label, why, affect = (catalog.load("tasks", name) for name in ("emotion", "emotion_rationale", "valence_arousal"))
    return label(labels=labels), why(labels=labels), affect()


def _answers(engine: Engine, groups: Sequence[Moment], labels: Sequence[str] | None) -> list[EmotionAnswer]:
    """One batch."""
    task, why, affect = _tasks(labels)
    rows = [group.prompt(engine, task) for group in groups]
    scored = [engine.calibrated(s, "emotion") for s in score_batch(engine.model, engine.processor, rows, [task.labels] * len(rows))]
    begun = [f"Emotion: {scores.best}." for scores in scored]
    reasons = _generate(engine, [group.prompt(engine, why) for group in groups], _MAX_RATIONALE, begun)
    felt = _generate(engine, [group.prompt(engine, affect) for group in groups], _MAX_AFFECT, [""] * len(groups))
    told = zip(scored, reasons, felt, strict=True)
    return [_answer(scores, text, why.template.parse(text, choices=why.labels), affect.template.parse(said)) for scores, text, said in told]


def _answer(scores: LabelScores, text: str, reason: Parsed, affect: Parsed) -> EmotionAnswer:
    """What the three answers say together."""
    report = scores.report
    found = reason.evidence if isinstance(reason, RationaleAnswer) else ()
    evidence = [e for e in found if _perceived(e, report)]
    if len(evidence) < len(found):  # a small model names a voice where there was none; the report is what is true
        lines = [f"{e.stream.capitalize()} {e.start_s:.1f}-{e.end_s:.1f} s: {e.text}." for e in evidence]
        text = "\n".join([f"Emotion: {scores.best}.", *lines])
        report.notes.append(f"{len(found) - len(evidence)} piece(s) of evidence left out: named in streams or at times the clip has not.")
    valence, arousal = (affect.valence, affect.arousal) if isinstance(affect, ValenceArousalAnswer) else (None, None)
    return EmotionAnswer(
        label=scores.best, probabilities=dict(zip(scores.labels, scores.probabilities, strict=True)), valence=valence, arousal=arousal,
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
