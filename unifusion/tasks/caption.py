"""Task: one sentence that tells what happens."""

from __future__ import annotations

from unifusion.conversation import Example
from unifusion.metrics.rouge_l import rouge_l
from unifusion.metrics.token_f1 import token_f1
from unifusion.prompts import FreeAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["Caption"]


class Caption(Task):
    """A caption, scored by ROUGE-L against the best reference.

    The truth is `texts["caption"]`, further right ones in `labels["captions"]`.
    """

    prompt = "caption"
    metric = "rouge_l"

    def score(self, answer: str, example: Example) -> Score:
        """ROUGE-L; the details hold the overlap F1 of words."""
        references = [str(self.truth(example, "caption")), *map(str, example.labels.get("captions", ()))]
        parsed = self.parse(answer, example)
        if not isinstance(parsed, FreeAnswer):
            return Score(value=0.0)
        return Score(value=rouge_l(parsed.text, references), parsed=parsed.text, details={"token_f1": token_f1(parsed.text, references)})
