"""Task: name the sound."""

from __future__ import annotations

from unifusion.tasks.task import LabelTask
from unifusion.world.script import SOUNDS

__all__ = ["Sound"]

EVERYDAY = (
    "dog bark", "rooster", "rain", "sea waves", "fire crackling", "baby cry", "person sneeze", "clock tick", "helicopter", "chainsaw",
)  # fmt: skip
"""Of ESC-10 (Piczak, 2015)."""


class Sound(LabelTask):
    """One kind of sound out of a list, by default everyday ones and clip world's. The truth is `labels["sound"]` (or `["label"]`)."""

    prompt = "sound"
    needs = ("audio",)
    default_labels = (*EVERYDAY, *(kind for kind in SOUNDS if kind not in EVERYDAY))
    keys = ("sound", "label")
    at_least_db = -18.0
    """Of 41 recordings of `val` 0.95 are told, 20 dB softer 0.90, raised again 0.95."""
