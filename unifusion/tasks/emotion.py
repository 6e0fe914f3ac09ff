"""Task: which emotion a person in the clip shows."""

from __future__ import annotations

from unifusion.tasks.task import LabelTask

__all__ = ["Emotion"]


class Emotion(LabelTask):
    """One emotion out of a list. The truth is `labels["emotion"]` (or `["label"]`), in any spelling the aliases know.

    The primary number is macro recall, since emotion sets are lopsided; accuracy and weighted F1 are given beside it.
    """

    prompt = "emotion"
    metric = "macro_recall"
    is_mean = False
    default_labels = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
    keys = ("emotion", "label")
