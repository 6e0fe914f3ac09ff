"""chrF and chrF++ of a corpus, with sacrebleu's signature."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.errors import ConfigError
from unifusion.metrics._texts import References, Signed, corpus_streams, library, paired

__all__ = ["chrf"]


def chrf(predictions: Sequence[str], references: References, *, word_order: int = 0, lowercase: bool = False) -> Signed:
    """sacrebleu's corpus chrF2 (Popović 2015), 0 to 100: F of character n-grams up to 6, recall weighing twice; tells short answers apart.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | texts as generated |
    | `references` | (N,) | of each one text or several |
    | `word_order` | | n-grams of words beside those of characters; 2 is chrF++ |
    | `lowercase` | | compare without case |

    Requires `pip install 'unifusion-x[eval]'`.

    Raises:
        ConfigError: sacrebleu is not installed, lengths do not fit, or `word_order` is negative.
    """
    rows = paired(predictions, references, "chrf")
    if word_order < 0:
        raise ConfigError(f"chrf with n-grams of {word_order} words;", remedy="give 0 for chrF, 2 for chrF++.")
    made = library("sacrebleu.metrics.chrf", "sacrebleu").CHRF(word_order=word_order, lowercase=lowercase)
    score = float(made.corpus_score(list(predictions), corpus_streams(rows)).score)
    return Signed(score, str(made.get_signature()))
