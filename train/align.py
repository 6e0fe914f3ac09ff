"""Train an embedding model: text, sound and picture in one space, by any encoders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.evaluation.align_card import finish
from unifusion.training.align_choices import SpaceChoices
from unifusion.training.aligning import train_aligner
from unifusion.training.choices import parse
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices(SpaceChoices):
    """Frozen encoders' features are stored once; what is trained sees its inputs again and again."""

    stage: str = "contrastive"
    """contrastive, masked (what is hidden of a stream is told from the rest and from the other streams), or both in every step."""
    view_dropout: float = 0.3
    """Share of each stream's moments that are absent in a view."""
    guard: float = 0.0
    """Weight of VICReg's variance term, against collapse."""
    masking: dict[str, object] | None = None
    """What is hidden: share (of moments), span_s, whole (streams), words, patches (of inputs of trained encoders), form (regression,
    cosine, contrast), layers."""
    mask_weight: float = 1.0
    """Of masked modelling beside the contrast, in stage both."""
    mine_every: int = 0
    """Steps after which hard negatives are sought anew among all rows; 0 never."""
    hard: int = 1
    """Hard negatives that each row brings into a batch, once there are some."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train it, calibrate it, and save it."""
    c = parse(Choices, argv, prog="unifusion train align")
    with stage(c.out, c) as todo:
        if todo:
            model, result = train_aligner(c, Path(f"{c.out}.fit"))
            finish(model, c, Path(c.out), result)


if __name__ == "__main__":
    main()
