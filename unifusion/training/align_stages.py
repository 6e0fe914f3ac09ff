"""Stages of training an embedding model: by contrast, by masked modelling, or by both in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from unifusion.errors import ConfigError, nearest
from unifusion.models.aligner import Aligner
from unifusion.processor.streams import read_config
from unifusion.training.affect_loss import nothing_of
from unifusion.training.align_loss import AlignObjective
from unifusion.training.grad_cache import cached_loss
from unifusion.training.mask_loss import MaskObjective
from unifusion.training.masking import Masking

__all__ = ["STAGES", "BothObjective", "objective_of"]

STAGES = ("contrastive", "masked", "both")


class BothObjective(nn.Module):
    """A model with two losses, the sum of which is taken: of whole rows against each other, and of what is hidden from them.

    Args:
        contrast: the first.
        masked: the second, of the same model.
        weight: of the second.
    """

    def __init__(self, contrast: AlignObjective, masked: MaskObjective, weight: float) -> None:
        super().__init__()
        self.model = contrast.model
        self.contrast, self.masked, self.weight = contrast, masked, weight

    def forward(self, clips: Sequence[Mapping[str, Any]], facts: Tensor, texts: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return `loss` (), a number, of B rows with facts (B, G); arguments as `AlignObjective` and `MaskObjective` have them."""

        def embedded(part: Mapping[str, Any]) -> dict[str, Tensor]:
            """What both need of some rows: encoders that are trained see them twice, whole and with parts hidden."""
            return {**self.contrast.embedded(part), **{f"masked {k}": v for k, v in self.masked.parts(part).items()}}

        def loss(rows: Mapping[str, Tensor]) -> Tensor:
            """Of all rows."""
            hidden = {k.removeprefix("masked "): v for k, v in rows.items() if k.startswith("masked ")}
            seen = {k: v for k, v in rows.items() if not k.startswith("masked ")}
            return self.contrast.loss(seen, facts, texts) + self.weight * self.masked.total(hidden)

        return {"loss": cached_loss(embedded, clips, loss, parameters=self.parameters()) + nothing_of(self)}


def objective_of(c: Any, model: Aligner) -> AlignObjective | MaskObjective | BothObjective:
    """The objective of a recipe's choices: `stage`, `loss`, `loss_config`, `weights`, `guard`, `masking`, `mask_weight`, `view_dropout`.

    Raises:
        ConfigError: no such stage, or a choice that cannot be meant.
    """
    if c.stage not in STAGES:
        raise ConfigError(f"no stage {c.stage!r};", remedy=nearest(c.stage, list(STAGES)))
    masking = read_config(Masking, dict(c.masking or {}), "masking") if c.stage != "contrastive" else None
    if c.stage == "masked":
        return MaskObjective(model, masking)
    contrast = AlignObjective(
        model, weights=dict(c.weights or {}), loss=c.loss, loss_config=c.loss_config, guard=c.guard, view_dropout=c.view_dropout
    )  # fmt: skip
    return contrast if masking is None else BothObjective(contrast, MaskObjective(model, masking), c.mask_weight)
