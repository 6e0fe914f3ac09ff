"""How pairs of a batch find each other: the loss that a recipe chooses, of rows of two sides and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unifusion.errors import ConfigError, nearest
from unifusion.losses.clip_loss import clip_loss
from unifusion.losses.siglip_loss import siglip_loss
from unifusion.losses.supervised_contrastive import supervised_contrastive
from unifusion.losses.triplet import triplet

__all__ = ["LOSSES", "PairLoss"]

LOSSES: dict[str, dict[str, Any]] = {
    "clip": {"form": "out"},
    "siglip": {},
    "supcon": {"form": "out"},
    "triplet": {"mining": "semi_hard", "margin": 0.2, "distance": "cosine", "soft": False},
}
"""Losses with their choices, as the functions of `losses` have them."""


class PairLoss:
    """One of the losses.

    - clip: each a finds its b among all, and each b its a; several that are right have a share each (`form`).
    - siglip: each pair by itself.
    - supcon: rows of both sides that go together are one class, and find each other among all rows of both sides.
    - triplet: what goes together is nearer than anything else of the other side, by a margin; learns no scale.

    Args:
        kind: its name.
        config: its choices.

    Raises:
        ConfigError: no such loss, or a choice that it does not have.
    """

    def __init__(self, kind: str, config: Mapping[str, Any] | None = None) -> None:
        if kind not in LOSSES:
            raise ConfigError(f"no loss {kind!r};", remedy=nearest(kind, list(LOSSES)))
        self.kind, self.config = kind, {**LOSSES[kind], **(config or {})}
        for key, value in self.config.items():
            if key not in LOSSES[kind]:
                raise ConfigError(f"the loss {kind} has no choice {key!r};", remedy=nearest(key, list(LOSSES[kind])))
            wanted = type(LOSSES[kind][key])
            if not isinstance(value, wanted) and not (wanted is float and type(value) is int):
                raise ConfigError(f"the loss {kind} has {key}={value!r};", remedy=f"give a {wanted.__name__}.")
        eye = torch.eye(2)
        self(eye, eye, eye.bool(), scale=1.0, bias=0.0)  # refuses names and numbers that it does not take, before anything is read

    def __call__(
        self, a_ND: Tensor, b_ND: Tensor, positives_NN: Tensor, *, scale: float | Tensor, bias: float | Tensor
    ) -> Tensor:  # fmt: skip
        """The loss ().

        Args:
            a_ND: rows of one side.
            b_ND: those of the other.
            positives_NN: bool, which b go with each a; row i with row i.
            scale: 1 / temperature, learned.
            bias: of siglip, learned.
        """
        if self.kind == "siglip":
            return siglip_loss(a_ND, b_ND, scale=scale, bias=bias, positives_BN=positives_NN)
        if self.kind == "clip":
            return clip_loss(a_ND, b_ND, scale=scale, positives=(positives_NN, positives_NN.T), **self.config)
        rows = torch.cat([a_ND, b_ND])
        if self.kind == "supcon":
            # Two a are one class if each goes with the other's b. If only one does (a text says less than the other) they are neither.
            both_NN, either_NN = positives_NN & positives_NN.T, positives_NN | positives_NN.T
            candidates = _of_both_sides(both_NN | ~either_NN, torch.ones_like(positives_NN))
            positives = _of_both_sides(both_NN, positives_NN)
            return supervised_contrastive(
                rows, positives_BB=positives, candidates_BB=candidates, temperature=1.0 / scale, **self.config
            )  # fmt: skip
        none_NN = torch.zeros_like(positives_NN)
        return triplet(
            rows, positives_BB=_of_both_sides(none_NN, positives_NN), candidates_BB=_of_both_sides(none_NN, ~none_NN), **self.config
        )  # fmt: skip


def _of_both_sides(within_NN: Tensor, across_NN: Tensor) -> Tensor:
    """A mask (2N, 2N) of rows of both sides: within each side, and from a to b."""
    return torch.cat([torch.cat([within_NN, across_NN], dim=1), torch.cat([across_NN.T, within_NN], dim=1)])
