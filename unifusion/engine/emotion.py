"""What a person feels in a clip: scored label, valence and arousal, and a rationale that begins with the scored label."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from unifusion import catalog
from unifusion.conversation import Conversation, Example, Media
from unifusion.engine.answers import EmotionAnswer
from unifusion.engine.decoding import decode_one, new_cache
from unifusion.engine.labels import score_labels
from unifusion.prompts import Evidence, RationaleAnswer, ValenceArousalAnswer, load_template

if TYPE_CHECKING:
    from unifusion.batch import ModalityReport
    from unifusion.engine.engine import Engine
    from unifusion.processor import OpenedMedia, Row

__all__ = ["answer_emotion"]

_MAX_RATIONALE = 160


def answer_emotion(engine: Engine, media: Sequence[Media], *, labels: Sequence[str] | None = None) -> EmotionAnswer:
    """Ask three questions about the same opened clips.

    Args:
        engine: where the model is.
        media: one or more clips.
        labels: the closed set; None takes the task's default.
    """
    began = time.perf_counter()
    opened = [engine.open(m)[0] for m in media]
    example = Example(id="emotion", media=tuple(media))
    task = catalog.load("tasks", "emotion")(labels=labels)
    row = _prompt(engine, task.conversation(example), opened)
    scores = engine.calibrated(score_labels(engine.model, engine.processor, row, task.choices(example)), "emotion")
    rationale, found = _rationale(engine, example, opened, scores.best, task.choices(example))
    report = row.report
    evidence = [e for e in found if _perceived(e, report)]
    if len(evidence) < len(found):  # a small model names a voice where there was none; the report is what is true
        lines = [f"{e.stream.capitalize()} {e.start_s:.1f}-{e.end_s:.1f} s: {e.text}." for e in evidence]
        rationale = "\n".join([f"Emotion: {scores.best}.", *lines])
        report.notes.append(f"{len(found) - len(evidence)} piece(s) of evidence left out: named in streams or at times the clip has not.")
    affect = _generate(engine, _prompt(engine, catalog.load("tasks", "valence_arousal")().conversation(example), opened), 24)
    parsed = load_template("valence_arousal").parse(affect)
    valence, arousal = (parsed.valence, parsed.arousal) if isinstance(parsed, ValenceArousalAnswer) else (None, None)
    return EmotionAnswer(
        label=scores.best, probabilities=dict(zip(scores.labels, scores.probabilities, strict=True)), valence=valence, arousal=arousal,
        rationale=rationale, evidence=[e.to_dict() for e in evidence], report=report, timing={"total_s": time.perf_counter() - began},
    )  # fmt: skip


def _prompt(engine: Engine, conversation: Conversation, opened: list[OpenedMedia]) -> Row:
    """The conversation as a prompt over clips that are open already."""
    return engine.processor.row(conversation, opened=opened, generate=True)


@torch.no_grad()
def _generate(engine: Engine, row: Row, max_new_tokens: int, begin: str = "") -> str:
    """Greedy answer of one row, forced to begin with `begin`."""
    ids = engine.processor.text.user(begin)
    row.add(ids)
    tokens = decode_one(
        engine.model, engine.embed(row), new_cache(engine.model), end_ids=engine.processor.end_ids, max_new_tokens=max_new_tokens
    )
    said = [t for t in tokens if t not in engine.processor.end_ids]
    return str(engine.processor.tokenizer.decode(ids + said, skip_special_tokens=True)).strip()


def _perceived(evidence: Evidence, report: ModalityReport) -> bool:
    """Whether the clip has the stream that evidence is said to come from, at that time."""
    modalities = ("video", "image") if evidence.stream == "picture" else ("audio",)
    return any(s.present and s.modality in modalities and evidence.start_s < s.seconds for s in report.streams.values())


def _rationale(
    engine: Engine, example: Example, opened: list[OpenedMedia], label: str, labels: Sequence[str]
) -> tuple[str, tuple[Evidence, ...]]:
    """A rationale for `label`, and its evidence with times; evidence is empty when the text cannot be parsed."""
    task = catalog.load("tasks", "emotion_rationale")(labels=labels)
    text = _generate(engine, _prompt(engine, task.conversation(example), opened), _MAX_RATIONALE, begin=f"Emotion: {label}.")
    parsed = task.parse(text, example)
    return text, parsed.evidence if isinstance(parsed, RationaleAnswer) else ()
