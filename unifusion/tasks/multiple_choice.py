"""Task: a question with lettered options."""

from __future__ import annotations

from unifusion.tasks.task import OptionTask

__all__ = ["MultipleChoice"]


class MultipleChoice(OptionTask):
    """Pick the option that answers `texts["question"]`, by letter; `texts["answer"]` is the right one where no index is given."""

    prompt = "multiple_choice"
    right_text = "answer"
