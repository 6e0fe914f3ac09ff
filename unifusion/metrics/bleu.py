"""BLEU of a corpus, with sacrebleu's signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from unifusion.errors import ConfigError
from unifusion.metrics._texts import References, Signed, corpus_streams, library, paired

__all__ = ["bleu"]


def bleu(
    predictions: Sequence[str],
    references: References,
    *,
    max_order: int = 4,
    tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a",
    smooth: Literal["exp", "floor", "add-k", "none"] = "exp",
    lowercase: bool = False,
) -> Signed:
    """sacrebleu's corpus BLEU (Papineni et al. 2002; Post 2018), 0 to 100.

    Of short answers hardly any n-gram of four matches and BLEU-4 is close to 0 whatever they say: take `max_order=1` or `chrf` there.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | texts as generated, not tokenised |
    | `references` | (N,) | of each one text or several; rows may have different numbers |
    | `max_order` | | longest n-gram; 1 to 4 give BLEU-1 to BLEU-4 |
    | `tokenize` | | of sacrebleu, those that need no download |
    | `smooth` | | where no n-gram of an order matches |
    | `lowercase` | | compare without case |

    Requires `pip install 'unifusion-x[eval]'`.

    Raises:
        ConfigError: sacrebleu is not installed, lengths do not fit, or `max_order` is not 1 to 9.
    """
    rows = paired(predictions, references, "bleu")
    if not 1 <= max_order <= 9:
        raise ConfigError(f"bleu of n-grams up to {max_order};", remedy="give 1 to 9; the usual BLEU is 4.")
    made = library("sacrebleu.metrics.bleu", "sacrebleu").BLEU(
        max_ngram_order=max_order, tokenize=tokenize, smooth_method=smooth, lowercase=lowercase, force=True
    )
    score = float(made.corpus_score(list(predictions), corpus_streams(rows)).score)
    # sacrebleu does not name the order in its signature.
    order = "" if max_order == 4 else f"|order:{max_order}"
    return Signed(score, f"{made.get_signature()}{order}")
