"""Train a small embedding model after a large one, or after an encoder with weights: features, similarities, logits over texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.evaluation.align_card import finish
from unifusion.training.align_choices import SpaceChoices
from unifusion.training.choices import parse
from unifusion.training.distilling import train_student
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices(SpaceChoices):
    """The student is any embedding model; what the teacher makes of the rows is stored once."""

    teacher: dict[str, object]
    """{checkpoint: FOLDER} of an embedding model, or {encoder: whisper, source: openai/whisper-small}."""
    pairs: dict[str, str] | None = None
    """What of the student learns what of the teacher: a space, clip, words, or encoders.STREAM -> the teacher's space or modality; without:
    what both have under one name."""
    forms: dict[str, float] | None = None
    """Of losses.distillation -> weight: features_cosine, features_mse, similarity_kl, similarity_mse, logits_kl; without: features_cosine
    and similarity_kl."""
    similarity_temperature: float = 0.1
    """Of similarity_kl."""
    contrast: float = 1.0
    """Weight of the contrast of texts and clips, as in align; 0 learns of the teacher alone."""
    evaluate_every: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Train the student, calibrate it, and save it."""
    c = parse(Choices, argv, prog="unifusion train distill")
    with stage(c.out, c) as todo:
        if todo:
            model, result = train_student(c, Path(f"{c.out}.fit"))
            finish(model, c, Path(c.out), result, recipe="distill")


if __name__ == "__main__":
    main()
