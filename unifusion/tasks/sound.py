"""Task: name the sound."""

from __future__ import annotations

from unifusion.tasks.task import LabelTask
from unifusion.world.script import SOUNDS

__all__ = ["Sound"]


class Sound(LabelTask):
    """One kind of sound out of a list. The truth is `labels["sound"]` (or `["label"]`)."""

    prompt = "sound"
    default_labels = SOUNDS
    keys = ("sound", "label")
