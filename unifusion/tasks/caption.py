"""Task: one sentence that tells what happens."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.conversation import Example
from unifusion.metrics.cider_d import cider_d
from unifusion.metrics.rouge_l import rouge_l
from unifusion.metrics.token_f1 import token_f1
from unifusion.prompts import FreeAnswer
from unifusion.tasks.task import Score, Task

__all__ = ["Caption"]


class Caption(Task):
    """A caption, scored by ROUGE-L against the best reference, and over a set by CIDEr-D as well.

    The truth is `texts["caption"]`, further right ones in `labels["captions"]`.
    """

    prompt = "caption"
    metric = "rouge_l"

    def score(self, answer: str, example: Example) -> Score:
        """ROUGE-L; the details hold the overlap F1 of words."""
        references = self._references(example)
        parsed = self.parse(answer, example)
        if not isinstance(parsed, FreeAnswer):
            return Score(value=0.0)
        return Score(value=rouge_l(parsed.text, references), parsed=parsed.text, details={"token_f1": token_f1(parsed.text, references)})

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """Mean ROUGE-L, and of two or more CIDEr-D with the frequencies of the set."""
        if len(scores) < 2:
            return super().summarise(scores, examples)
        said = [str(s.parsed or "") for s in scores]
        return super().summarise(scores, examples) | {"cider_d": cider_d(said, [self._references(e) for e in examples]).value}

    def _references(self, example: Example) -> list[str]:
        """All true captions."""
        return [str(self.truth(example, "caption")), *self.further(example, "captions")]
