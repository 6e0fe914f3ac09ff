"""Parser of yes or no. "No sound can be heard" is a sentence, not a no: the word must stand for the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unifusion.prompts.matching import plain
from unifusion.prompts.parsed import Parsed, Unparsed, YesNoAnswer

__all__ = ["yes_no"]

_YES = r"yes|yeah|yep|yup|true|correct"
_NO = r"no|nope|nah|false|incorrect"
_SUBJECT = r"it|they|he|she|i|we|you|this|that|these|those|the|there"
_FIRST = re.compile(rf"^(?:(?P<yes>{_YES})|(?P<no>{_NO}))(?=$|[.,;:!?\u2013\u2014*)]|\s+-|\s+(?:{_SUBJECT})\b)")
_CUED = re.compile(rf"\banswer(?:\s+is|\s*:)\s*[\"'*(]*(?:(?P<yes>{_YES})|(?P<no>{_NO}))\b")
_BOTH = re.compile(rf"^(?:{_YES}|{_NO})\W+(?:(?:or|and)\s+)?(?:{_YES}|{_NO})\b")


def yes_no(text: str, *, choices: Sequence[str] = ()) -> Parsed:
    """Read a leading yes or no, or one after "the answer is". `choices` is not used: the set is closed."""
    del choices
    words = plain(text)
    first, cued = _FIRST.match(words), {bool(m["yes"]) for m in _CUED.finditer(words)}
    if first and not _agreeing(words):
        return Unparsed(f"both yes and no in {text.strip()[:80]!r}")
    verdicts = cued | ({bool(first["yes"])} if first else set())
    if len(verdicts) != 1:
        return Unparsed(f"{'both' if verdicts else 'neither'} yes and no in {text.strip()[:80]!r}")
    return YesNoAnswer(verdicts.pop())


def _agreeing(words: str) -> bool:
    """Whether a second yes or no right after the first says the same ("yes, correct")."""
    match = _BOTH.match(words)
    if not match:
        return True
    heads = re.findall(rf"\b(?:{_YES}|{_NO})\b", match[0])
    return len({bool(re.fullmatch(_YES, h)) for h in heads}) == 1
