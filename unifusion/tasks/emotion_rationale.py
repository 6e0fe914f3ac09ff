"""Task: the emotion, and why: what in the picture, the sound and the words speaks for it, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.metrics.temporal_iou import temporal_iou
from unifusion.prompts import Evidence, Parsed, RationaleAnswer
from unifusion.tasks.task import LabelTask, Score

__all__ = ["EmotionRationale"]


class EmotionRationale(LabelTask):
    """A label with evidence of three streams. The primary number is macro recall of the label.

    The truth is `labels["emotion"]` and `labels["evidence"]`, a list of `{"stream", "start_s", "end_s", "text"}`; or
    `texts["answer"]` in the written form that `prompts.parsers.rationale` shows.
    """

    prompt = "emotion_rationale"
    metric = "macro_recall"
    is_mean = False
    default_labels = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
    keys = ("emotion", "label")

    def label_of(self, parsed: Parsed) -> str | None:
        """The label of the rationale; a bare truth label is read as one too."""
        return parsed.label if isinstance(parsed, RationaleAnswer) else None

    def target(self, example: Example) -> str:
        """The true label; see `LabelTask.target`."""
        written = self._written(example)
        if written is not None and not any(example.labels.get(k) for k in self.keys):
            return written.label
        raw = str(self.truth(example, *self.keys))
        label = self.label_of(self.template.parse(f"Emotion: {raw}", choices=self.labels))
        if label is None:
            raise DatasetError(
                f"example {example.id!r} has label {raw!r}, the task knows {', '.join(self.labels)};",
                remedy="pass labels= with all of them.",
            )
        return label

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The true label and evidence."""
        return {"emotion": self.target(example), "evidence": self._evidence(example)} if with_answer else {}

    def choices(self, example: Example) -> tuple[str, ...]:
        """None: the answer is written out, evidence and all."""
        del example
        return ()

    def score(self, answer: str, example: Example) -> Score:
        """1 for the true label, else 0; details say which share of the true evidence has a counterpart in stream and time.

        `evidence_recall` and `evidence_precision` count spans of the same stream that overlap by at least half (IoU).
        """
        target = self.target(example)
        parsed = self.parse(answer, example)
        label = self.label_of(parsed)
        details: dict[str, float] = {}
        if isinstance(parsed, RationaleAnswer) and (true := self._evidence(example)):
            details = {"evidence_recall": _found(true, parsed.evidence), "evidence_precision": _found(parsed.evidence, true)}
        rationale = parsed if label is not None else None
        return Score(value=float(label == target), parsed=rationale, details=details)

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """The label's numbers, and the mean of each detail over the answers that were parsed."""
        numbers = super().summarise(scores, examples)
        for key in ("evidence_recall", "evidence_precision"):
            if values := [s.details[key] for s in scores if key in s.details]:
                numbers[key] = sum(values) / len(values)
        return numbers

    def _written(self, example: Example) -> RationaleAnswer | None:
        """The written answer of the example, if it has one."""
        parsed = self.template.parse(example.texts.get("answer", ""), choices=self.labels)
        return parsed if isinstance(parsed, RationaleAnswer) else None

    def _evidence(self, example: Example) -> tuple[Evidence, ...]:
        """The true evidence; empty where the example has a label only."""
        rows = example.labels.get("evidence")
        if rows is None:
            written = self._written(example)
            return written.evidence if written else ()
        try:
            return tuple(
                r if isinstance(r, Evidence) else Evidence(str(r["stream"]), float(r["start_s"]), float(r["end_s"]), str(r["text"]))
                for r in rows
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"example {example.id!r} has evidence {rows!r};", remedy="each needs stream, start_s, end_s, text."
            ) from error


def _found(wanted: Sequence[Evidence], given: Sequence[Evidence]) -> float:
    """Share of `wanted` with a counterpart in `given`."""
    if not wanted:
        return 0.0
    hits = [any(g.stream == w.stream and temporal_iou((g.start_s, g.end_s), (w.start_s, w.end_s)) >= 0.5 for g in given) for w in wanted]
    return sum(hits) / len(hits)
