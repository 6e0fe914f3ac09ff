"""Suite: a report on emotion from predictions made elsewhere: figures with intervals, tests, pictures and one page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.cli import script
from unifusion.evaluation.emotion_report import found_by, write_report
from unifusion.evaluation.emotion_units import Draws
from unifusion.evaluation.predictions import predictions_of, read_predictions
from unifusion.training.choices import parse


@dataclass(frozen=True, kw_only=True)
class Choices:
    """unifusion eval report PREDICTIONS.jsonl .. -o DIR: one line of JSON an example, condition and seed."""

    predictions: tuple[str, ...]
    """Files of one system, such as one a seed, or folders with predictions.jsonl; they may stand first, without the flag."""
    out: str = "runs/eval/report"
    """The folder; -o for short."""
    title: str = "Emotion"
    examples: str = "examples"
    """What one is called, in the plural: clips."""
    groups: str = "groups"
    """What `group` of a prediction is, in the plural: speakers."""
    resamples: int = 2000
    """Of every interval and test."""


def main(argv: Sequence[str] | None = None) -> None:
    """Write the report and print what was found."""
    c = parse(Choices, flags(argv), prog="unifusion eval report")
    rows = [row for path in c.predictions for row in read_predictions(predictions_of(path, models=True) or path)]
    page = write_report(rows, c.out, c.title, {"examples": c.examples, "groups": c.groups}, draws=Draws(resamples=c.resamples))
    print("\n".join([*found_by(page), str(page)]))


def flags(argv: Sequence[str] | None) -> list[str]:
    """The words with their flags: leading files are `--predictions`."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    return (["--predictions", ",".join(words[:first])] if first else []) + words[first:]


if __name__ == "__main__":
    script(main)
