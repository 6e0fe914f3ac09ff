"""Task: which digit is spoken."""

from __future__ import annotations

from unifusion.tasks.task import LabelTask

__all__ = ["Digit"]


class Digit(LabelTask):
    """A spoken digit, answered as a word. The truth is `labels["digit"]` (or `["label"]`), a word or a number."""

    prompt = "digit"
    needs = ("audio",)
    default_labels = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    keys = ("digit", "label")
    at_least_db = -18.0
    """Of speakers that were not trained on, recorded 20 dB softer than those, 0.70 are told as they are, 0.94 raised (50 of `val`)."""
