"""What an emotion model is trained by: streams dropped, rows mixed, losses of the labels and of valence and arousal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unifusion.errors import ConfigError, nearest
from unifusion.losses.ccc_loss import ccc_loss
from unifusion.losses.class_balanced_weights import class_balanced_weights
from unifusion.losses.focal import focal_loss
from unifusion.losses.label_smoothing_cross_entropy import label_smoothing_cross_entropy
from unifusion.losses.mse import mse_loss
from unifusion.losses.multi_task import MultiTask
from unifusion.media.augment import Augmentation
from unifusion.models.affect import AffectModel
from unifusion.models.encoded_files import STORED
from unifusion.models.fusions.fusion import Fusion
from unifusion.training.feature_augment import drop_streams, mixup, soft_targets
from unifusion.training.fit import FitChoices

__all__ = ["AffectObjective", "Pretraining", "check"]

KNOWN = {
    "loss": ("cross_entropy", "focal"), "affect_loss": ("ccc", "mse", "both"), "class_weights": ("none", "balanced", "effective"),
    "sampling": ("shuffled", "balanced"), "unfreeze": ("at once", "gradual"), "affect": ("auto", "yes", "no"),
    "stored": tuple(STORED),
}  # fmt: skip
_LEAST = {"seeds": 1, "look_every": 1, "pretrain_steps": 0, "focal_gamma": 0, "mixup": 0, "affect_weight": 0}
_SHARES = ("dropout", "stream_dropout", "label_smoothing", "warmup")
_ABOVE_ZERO = ("epochs", "max_seconds", "encoder_rate")
_EFFECTIVE = 0.999


def check(c: Any) -> None:
    """Refuse, before anything is read, a choice that nothing stands for.

    Raises:
        ConfigError: names the choice and what it may be.
    """
    for key, values in KNOWN.items():
        if getattr(c, key) not in values:
            raise ConfigError(f"{key} is {getattr(c, key)!r};", remedy=nearest(str(getattr(c, key)), list(values)))
    for key, least in _LEAST.items():
        if not getattr(c, key) >= least:
            raise ConfigError(f"{key} is {getattr(c, key)};", remedy=f"take {least} or more.")
    for key in _SHARES:
        if not 0 <= getattr(c, key) <= 1:
            raise ConfigError(f"{key} is {getattr(c, key)};", remedy="take a share from 0 to 1.")
    for key in _ABOVE_ZERO:
        if not getattr(c, key) > 0:
            raise ConfigError(f"{key} is {getattr(c, key)};", remedy="take more than 0.")
    replace(FitChoices.of(c), evaluate_every=c.look_every).check()
    changed = Augmentation.from_dict(c.augment) if c.augment else None
    if changed is not None and c.features != "none" and not all(_trains(s) for s in (c.streams or {}).values()):
        raise ConfigError("stored features of a clip cannot be changed with it;", remedy="give --features none, or leave --augment out.")
    if c.unfreeze == "gradual" and not any(_trains(s) for s in (c.streams or {}).values()):
        raise ConfigError("unfreeze is gradual and no encoder is trained;", remedy="give a stream `trained: -1`, or leave it out.")


def _trains(stream: Any) -> bool:
    """Whether a stream of a recipe's choices has an encoder that is trained."""
    return isinstance(stream, Mapping) and bool(stream.get("trained"))


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
        weights = None
        if c.class_weights != "none" and model.config.labels:
            beta = 1.0 if c.class_weights == "balanced" else _EFFECTIVE
            weights = class_balanced_weights([counts[label] for label in model.config.labels], beta=beta)
        self.weights_K = weights
        names = model.config.outputs
        felt = [n for n in names if n != "emotion"]
        losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {n: self._told if n == "emotion" else self._felt for n in names}
        share = c.affect_weight / 2 if "emotion" in names else 0.5  # two numbers, one weight
        self.tasks = MultiTask(
            losses, weights={n: share for n in felt} if c.affect_weight > 0 else None, uncertain=c.affect_weight <= 0, regressions=felt
        )

    def _told(self, logits_BK: Tensor, shares_BK: Tensor) -> Tensor:
        """The loss () of the labels."""
        weights = None if self.weights_K is None else self.weights_K.to(logits_BK.device)
        if self.c.loss == "focal":
            return focal_loss(logits_BK, shares_BK, gamma=self.c.focal_gamma, class_weights_K=weights)
        return label_smoothing_cross_entropy(logits_BK, shares_BK, smoothing=self.c.label_smoothing, class_weights_K=weights)

    def _felt(self, told_B: Tensor, true_B: Tensor) -> Tensor:
        """The loss () of valence or arousal."""
        parts = {"ccc": (ccc_loss,), "mse": (mse_loss,), "both": (ccc_loss, mse_loss)}[self.c.affect_loss]
        return torch.stack([part(told_B, true_B) for part in parts]).sum()

    def forward(self, batch: Mapping[str, Any], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss () of B rows; targets are `label` (B,), -1 unknown, and `affect` (B, 2), NaN unknown."""
        inputs = self.model.inputs(batch)
        wanted: dict[str, Tensor] = {"valence": targets["affect"][:, 0], "arousal": targets["affect"][:, 1]}
        if self.model.config.labels:
            wanted["emotion"] = soft_targets(targets["label"], len(self.model.config.labels), ignore_index=-1)
        if self.training and (self.c.stream_dropout or self.c.mixup):
            rng = np.random.default_rng(int(torch.randint(2**31, ())))  # the state of PyTorch's generator is saved with a checkpoint
            inputs = drop_streams(inputs, self.c.stream_dropout, rng)
            inputs, wanted = mixup(inputs, wanted, self.c.mixup, rng)
        out = self.model.tell(inputs)
        told = {} if out.logits_BK is None else {"emotion": out.logits_BK}
        if out.affect_B2 is not None:
            told |= {"valence": out.affect_B2[:, 0], "arousal": out.affect_B2[:, 1]}
        loss = self.tasks(told, {n: wanted[n] for n in told})[0] + nothing_of(self)
        return {"loss": loss, "n_targets": torch.tensor(len(targets["label"]))}


class Pretraining(nn.Module):
    """A model's fusion with a loss of its own, that needs no label.

    Args:
        model: whose fusion has one.

    Raises:
        ConfigError: it has none.
    """

    def __init__(self, model: AffectModel) -> None:
        super().__init__()
        if type(model.fusion).pretrain_loss is Fusion.pretrain_loss:
            raise ConfigError(f"fusion {model.config.fusion!r} has no pre-training;", remedy="leave --pretrain-steps out, or take flava.")
        self.model = model

    def forward(self, batch: Mapping[str, Any], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The loss () of rows whose streams are (B, S, D), whatever their targets, and how many they are, ()."""
        loss = self.model.fusion.pretrain_loss(self.model.inputs(batch)) + nothing_of(self)
        return {"loss": loss, "n_targets": torch.tensor(len(targets["label"]))}


def nothing_of(module: nn.Module) -> Tensor:
    """A zero () that every trained weight takes part in: where a batch lacks a stream, other processes wait for its gradient."""
    total = sum(p.reshape(-1)[0] for p in module.parameters() if p.requires_grad)
    return torch.as_tensor(total) * 0.0
