"""The normalisation of the published VQA evaluation, its slips included (Antol et al. 2015; GT-Vision-Lab/VQA, BSD).

`exact_match.normalise` is a cleaner relative of it: it keeps a minus and decimal points, drops all other punctuation, knows curly
apostrophes and full-width letters, keeps an answer that is nothing but an article, and leaves out restorations that hit plain words or
garble what is right already (`somebody'd`). Of the 8,000 answers of ActivityNet-QA's test set the two differ on one, "a".
"""

from __future__ import annotations

import re

__all__ = ["vqa_normalise"]

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"(\d)(,)(\d)")
# The published pattern; "(?!<=" was meant to be a lookbehind and is not, so that a point goes wherever no digit follows it.
_POINT = re.compile(r"(?!<=\d)(\.)(?!\d)")
_POINTS = 32
"""Of an answer, at most so many go: the published code gives re.UNICODE (32) where `sub` takes a count."""
_NUMBERS = {w: str(i) for i, w in enumerate("zero one two three four five six seven eight nine ten".split())} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_RIGHT = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd it'll "
    "ma'am might've mightn't must've mustn't needn't not've o'clock oughtn't shan't should've shouldn't somebody'll somebody's "
    "someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll they're they've 'twas "
    "wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll who's who've why'll why're "
    "why's won't would've wouldn't y'all you'd you'll you're you've"
).split()
_TWICE = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've something'd've there'd've "
    "they'd've we'd've who'd've wouldn't've y'all'll you'd've"
).split()
"""Of these, each apostrophe may be lacking, but not both."""
_CONTRACTIONS = (
    {w.replace("'", ""): w for w in _RIGHT}
    | {w.replace("'", "", 1): w for w in _TWICE}
    | {"'".join(w.rsplit("'", 1)[0].split("'")) + w.rsplit("'", 1)[1]: w for w in _TWICE}
    | {"somebody'd": "somebodyd", "ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at"}
    | {"yall'd've": "y'all'd've", "y'alld've": "y'all'd've", "y'all'dve": "y'all'd've"}
)
"""Those of the published table that can be met: it has I'm, I've and I'd've in capitals, which never match a word in lower case."""


def vqa_normalise(text: str) -> str:
    """Return `text` as the published evaluation compares it: without punctuation and articles, numbers as digits, contractions restored."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    bare = text
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if beside_space or in_number else " ")
    words = [_NUMBERS.get(w, w) for w in _POINT.sub("", bare, count=_POINTS).lower().split()]
    return " ".join(_CONTRACTIONS.get(w, w) for w in words if w not in _ARTICLES)
