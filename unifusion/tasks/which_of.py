"""Task: which of several texts tells of this clip (retrieval of a text, asked of the chat model)."""

from __future__ import annotations

from unifusion.tasks.task import OptionTask

__all__ = ["WhichOf"]


class WhichOf(OptionTask):
    """Pick the text that belongs to the clip, by letter; `texts["caption"]` is the right one where no index is given.

    The texts may also lie in `labels["texts"]`, which goes before `labels["options"]` (where clip world keeps letters).
    """

    prompt = "which_of"
    right_text = "caption"
    option_keys = ("texts", "options")
