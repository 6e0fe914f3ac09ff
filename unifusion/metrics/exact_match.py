"""Exact match after the normalisation of VQA."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["exact_match"]

_NUMBERS = {w: str(i) for i, w in enumerate("zero one two three four five six seven eight nine ten".split())} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}
# The contraction map of VQA's evaluation restores a lost apostrophe; words that are also plain English without one
# (well, were, wed, ill, hell, shell, its, wont as in habit) are left alone there too, "wont" excepted.
_CONTRACTIONS = {
    w.replace("'", ""): w
    for w in (
        "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's "
        "i'd've i'm i've isn't it'd it'll let's ma'am might've mightn't must've mustn't needn't not've o'clock oughtn't shan't she's "
        "should've shouldn't somebody'd someone's something's that's there'd there're there's they'd they'll they're they've 'twas "
        "wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're "
        "why's won't would've wouldn't y'all you'd you'll you're you've"
    ).split()
}


def normalise(text: str) -> str:
    """Return `text` in lower case without punctuation and articles, number words up to ten as digits, contractions restored.

    After the published VQA evaluation (Antol et al. 2015). Decimal points, a minus before a digit and apostrophes inside words
    stay; a comma between digits goes.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'").replace("\u2212", "-")
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    kept = re.findall(r"(?<![\w.])-(?=\d)|\d+\.\d+|[^\W_]+(?:'[^\W_]+)*", text)
    words = _join_signs(kept)
    # An answer of nothing but an article is no article: it is the letter of an option.
    words = [w for w in words if w not in _ARTICLES] or words
    return " ".join(_CONTRACTIONS.get(w, _NUMBERS.get(w, w)) for w in words)


def _join_signs(pieces: Sequence[str]) -> list[str]:
    """Put a minus back onto its number."""
    words: list[str] = []
    for piece in pieces:
        if words and words[-1] == "-":
            words[-1] += piece
        else:
            words.append(piece)
    return words


def exact_match(prediction: str, references: str | Sequence[str]) -> float:
    """1 if the normalised prediction equals one of the normalised references, else 0. An empty prediction is 0.

    | input | shape | meaning |
    |---|---|---|
    | `prediction` | text | the answer as generated |
    | `references` | text or (N,) texts | any of them is right |
    """
    wanted = {normalise(r) for r in ([references] if isinstance(references, str) else references)}
    said = normalise(prediction)
    return float(bool(said) and said in wanted)
