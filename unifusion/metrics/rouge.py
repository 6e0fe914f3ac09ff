"""ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum over a set, by rouge-score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unifusion.errors import ConfigError
from unifusion.metrics._texts import References, library, paired, words_of

__all__ = ["rouge"]

_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def rouge(
    predictions: Sequence[str], references: References, *, types: Sequence[str] = _TYPES, stem: bool = False
) -> dict[str, float]:  # fmt: skip
    """Mean F-measure of each kind, 0 to 1 (Lin 2004), of each prediction against its best reference.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | texts as generated |
    | `references` | (N,) | of each one text or several; the one of the highest F counts |
    | `types` | | `rouge1` to `rouge9`, `rougeL`, `rougeLsum` (sentences on lines of their own) |
    | `stem` | | Porter's stemmer before comparing |

    On Latin letters it equals rouge-score; of other scripts, which that drops, see `_texts.words_of`.

    Requires `pip install 'unifusion-x[eval]'`. `rouge_l` is ROUGE-L of one text without any library.

    Raises:
        ConfigError: rouge-score is not installed, lengths do not fit, or it knows no such kind.
    """
    rows = paired(predictions, references, "rouge")
    known = {*_TYPES, *(f"rouge{n}" for n in range(1, 10))}
    if unknown := [kind for kind in types if kind not in known]:
        raise ConfigError(f"no kind of ROUGE {unknown[0]!r};", remedy=f"there are {', '.join(sorted(known))}.")
    words = _Words(library("rouge_score.tokenizers", "rouge-score").DefaultTokenizer(stem))
    scorer = library("rouge_score.rouge_scorer", "rouge-score").RougeScorer(list(types), tokenizer=words)
    each = [scorer.score_multi(wanted, said) for said, wanted in zip(predictions, rows, strict=True)]
    return {kind: sum(float(row[kind].fmeasure) for row in each) / len(each) for kind in types}


@dataclass(frozen=True)
class _Words:
    """rouge-score's words, and those that it drops."""

    theirs: Any

    def tokenize(self, text: str) -> list[str]:
        """Words of a text."""
        return [token for word in words_of(text) for token in (self.theirs.tokenize(word) or [word])]
