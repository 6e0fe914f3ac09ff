"""What an emotion model is trained by: streams dropped, rows mixed, losses of the labels and of valence and arousal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unifusion.models.affect import AffectModel

__all__ = ["AffectObjective"]


class AffectObjective(nn.Module):
    """A model with its loss.

    Args:
        model: to train.
        c: choices of `train/emotion.py`.
        targets: of the rows to learn from, for the labels' weights.
    """

    def __init__(self, model: AffectModel, c: Any, targets: Sequence[tuple[str, float, float]]) -> None:
        super().__init__()
        self.model, self.c = model, c
        counts = Counter(t[0] for t in targets)
        self.weights = [1.0 / max(counts[label], 1) for label in model.config.labels]

    def forward(self, batch: Mapping[str, Any], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss () of B rows; targets are `label` (B,) and `affect` (B, 2)."""
        out = self.model.tell(self.model.inputs(batch))
        loss = torch.zeros((), device=self.model.device)
        if out.logits_BK is not None:
            loss = loss + nn.functional.cross_entropy(out.logits_BK, targets["label"], ignore_index=-1)
        if out.affect_B2 is not None:
            known = targets["affect"].isfinite()
            loss = loss + ((out.affect_B2 - targets["affect"].nan_to_num()) ** 2)[known].mean()
        # Every weight takes part in every step, with a gradient of nothing where a batch lacks its stream: other processes wait for it.
        loss = loss + 0.0 * sum(p.reshape(-1)[0] for p in self.parameters() if p.requires_grad)
        return {"loss": loss, "n_targets": torch.tensor(len(targets["label"]))}
