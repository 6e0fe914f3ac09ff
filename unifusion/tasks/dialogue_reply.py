"""Task: the next thing to say in a talk, given what was said and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unifusion.conversation import Example
from unifusion.metrics.token_f1 import token_f1
from unifusion.prompts import FreeAnswer
from unifusion.tasks.task import Score, Task, history_of

__all__ = ["DialogueReply"]


class DialogueReply(Task):
    """A reply to the person in the clip.

    `labels["history"]` lists the turns so far as `{"speaker", "text"}` (may be empty), `texts["felt"]`, where it is known, what the
    person feels; the truth is `texts["reply"]` (or `["answer"]`). Scored by overlap F1 of words, which says little of empathy: read the
    answers too.
    """

    prompt = "dialogue_reply"
    metric = "token_f1"

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """All turns so far, and the true reply."""
        return {"history": history_of(example), **({"reply": self.truth(example, "reply", "answer")} if with_answer else {})}

    def score(self, answer: str, example: Example) -> Score:
        """Overlap F1 of words with the true reply."""
        parsed = self.parse(answer, example)
        reference = str(self.truth(example, "reply", "answer"))
        if not isinstance(parsed, FreeAnswer):
            return Score(value=0.0)
        return Score(value=token_f1(parsed.text, reference), parsed=parsed.text)
