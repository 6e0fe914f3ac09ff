"""Task: a full account of picture, sound and words, in order."""

from __future__ import annotations

from unifusion.conversation import Example
from unifusion.metrics.rouge_l import rouge_l
from unifusion.metrics.token_f1 import token_f1
from unifusion.prompts import FreeAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["DenseDescription"]


class DenseDescription(Task):
    """A dense description, scored by ROUGE-L against the best reference.

    The truth is `texts["description"]`, further right ones in `labels["descriptions"]`.
    """

    prompt = "dense_description"
    metric = "rouge_l"

    def score(self, answer: str, example: Example) -> Score:
        """ROUGE-L; the details hold the overlap F1 of words."""
        references = [str(self.truth(example, "description")), *self.further(example, "descriptions")]
        parsed = self.parse(answer, example)
        if not isinstance(parsed, FreeAnswer):
            return Score(value=0.0)
        return Score(value=rouge_l(parsed.text, references), parsed=parsed.text, details={"token_f1": token_f1(parsed.text, references)})
