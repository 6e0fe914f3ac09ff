"""Going on from an earlier embedding model: weights of parts that fit by name are taken, and it is said which."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from unifusion.errors import ConfigError
from unifusion.models.aligner import Aligner
from unifusion.models.aligner_files import load_aligner

__all__ = ["Taken", "start_from"]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What became of the weights of a model: how many tensors of each part were taken, and how many are as they were drawn.

    Attributes:
        folder: they come from.
        taken: part (`towers.audio`) -> tensors.
        new: part -> tensors that the folder lacks, or has in another shape.
        left: parts of the folder that the model has no use for.
    """

    folder: str
    taken: dict[str, int]
    new: dict[str, int]
    left: tuple[str, ...]

    def __str__(self) -> str:
        """For people."""
        told = [f"goes on from {self.folder}; of each part, tensors that were taken, and new ones:"]
        told += [f"{part:24} {self.taken.get(part, 0):6} {self.new.get(part, 0):6}" for part in sorted({*self.taken, *self.new})]
        return "\n".join([*told, *([f"not used: {', '.join(self.left)}"] if self.left else [])])


def start_from(model: Aligner, folder: str | Path) -> Taken:
    """Give a model the weights of a folder's where name and shape are the same.

    Args:
        model: changed in place.
        folder: of an embedding model, or the name of a shipped one.

    Raises:
        CheckpointError: it is no embedding model, or cannot be read.
        ConfigError: nothing of it fits.
    """
    earlier = load_aligner(folder).state_dict()
    own = model.state_dict()
    fits = {name for name, value in own.items() if name in earlier and earlier[name].shape == value.shape}
    with torch.no_grad():
        for name in fits:
            own[name].copy_(earlier[name])
    if not any(_part(name) != "scale" for name in fits):
        raise ConfigError(f"no weight of {folder} fits this model;", remedy="give its streams, towers and head, or leave --start out.")
    taken, new = (Counter(_part(n) for n in own if (n in fits) == had) for had in (True, False))
    left = sorted({_part(n) for n in earlier if n not in fits} - {*taken})
    return Taken(folder=str(folder), taken=dict(taken), new=dict(new), left=tuple(left))


def _part(name: str) -> str:
    """The part of a tensor: its first two names; of the scale and its bias, `scale`."""
    return ".".join(name.split(".")[:2]) if "." in name else "scale"
