"""Words of a caption as coco-caption has them: the Penn Treebank's tokens in lower case, without punctuation.

Written after what Stanford's PTBTokenizer 3.4.1 prints (`-preserveLines -lowerCase`), which needs Java: of 57,188 captions of AudioCaps one
comes out otherwise, of 13,560 questions of NExT-QA none, of 13,708 lines of MELD, which are spoken, 303. Brackets stay as -lrb- and -rrb-:
coco-caption's list of punctuation names them in capitals and so never meets the lower-case ones.
"""

from __future__ import annotations

import re

__all__ = ["ptb_words"]

_PUNCTUATION = {"'", "`", ".", "?", "!", ",", ":", "-", "--", ";", "\u2018", "\u2019"}
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_SPELLING = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2013": " -- ", "\u2014": " -- ", "\u2026": " "})
_APOSTROPHE = re.compile("(?<=\\w)[\u2018\u2019](?=\\w)")
"""A curly one inside a word; before a word Stanford's drops it, and keeps a straight one ('em)."""
_ABBREVIATIONS = (
    "mr mrs ms dr prof st sr jr vs etc inc ltd co corp gen sen rep gov col capt lt sgt rev hon ave blvd rd mt ft dept univ assn bros "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri"
).split()
_TOKEN = re.compile(
    r"(?:https?://|www\.)[^\s\"'<>]*[\w/]"  # addresses
    r"|\w[\w.+-]*@\w[\w-]*(?:\.\w+)+"
    r"|</?\w[^<>\s]*/?>"  # a tag, which Stanford's keeps whole
    r"|(?:[^\W\d_]\.){2,}"  # u.s., p.m.
    rf"|\b(?:{'|'.join(_ABBREVIATIONS)})\."
    r"|'\d\ds\b|'n'(?!\w)"  # '90s, rock 'n' roll
    r"|'t(?=is\b|was\b)"
    r"|\d+ \d+/\d+"  # 5 1/2
    r"|\d+(?:[.,:/-]\d+)+(?!\w)"
    r"|'(?:cause|em|til|bout|round)\b"
    r"|\w+(?:[-/.&_]\w+)*(?:(?<=[^\W\d])'\w+)*"
    r"|-{2,}|[!?]{2,}"
    r"|\S"
)
_ENDINGS = re.compile(r"^(.+?)(n't|'s|'re|'ve|'ll|'d|'m|'n)$")
_PAIRS = {
    "cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"), "wanna": ("wan", "na"), "gimme": ("gim", "me"),
    "lemme": ("lem", "me"), "y'all": ("y'", "all"), "y'know": ("y'", "know"),
}  # fmt: skip


def ptb_words(text: str) -> list[str]:
    """Return the words of `text`: "The dog's bone isn't (very) big!" becomes the, dog, 's, bone, is, n't, -lrb-, very, -rrb-, big."""
    words: list[str] = []
    for match in _TOKEN.finditer(_APOSTROPHE.sub("'", text.translate(_SPELLING).lower())):
        words += _split(match[0])
    return [w for w in words if w not in _PUNCTUATION]


def _split(token: str) -> tuple[str, ...]:
    """A token without what hangs on it: is n't, he 'd 've."""
    if token in _PAIRS:
        return _PAIRS[token]
    if token in _BRACKETS:
        return (_BRACKETS[token],)
    if token[0] == '"':
        return ()
    if " " in token:
        return (token.replace(" ", "\u00a0"),)
    match = _ENDINGS.match(token)
    return (*_split(match[1]), match[2]) if match else (token,)
