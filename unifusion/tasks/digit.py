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
