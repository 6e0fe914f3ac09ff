"""Parser of one number, in digits or words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unifusion.prompts.matching import NUMBER, digits_of_words, plain
from unifusion.prompts.parsed import NumberAnswer, Parsed, Unparsed

__all__ = ["number"]

_WHOLE = {"none": "0", "once": "1", "twice": "2", "thrice": "3"}
_ANY = re.compile(rf"(?<![\w.,]){NUMBER}(?!\w|[.,]\d)")


def number(text: str, *, choices: Sequence[str] = (), minimum: float | None = None, maximum: float | None = None) -> Parsed:
    """Read the only number of the answer; two different ones, or one outside `minimum` .. `maximum`, is `Unparsed`.

    "none", "once", "twice" count when they are the whole answer. `choices` is not used.
    """
    del choices
    words = plain(text)
    # `plain` strips a leading sign together with other edge marks: read it from the text itself.
    signed = "-" + words if re.match(r"[\s*(\"']*[-\u2212]\s?\d", text) else words
    found = {float(m[0].replace(",", "")) for m in _ANY.finditer(digits_of_words(_WHOLE.get(signed, signed)))}
    if len(found) != 1:
        return Unparsed(f"{len(found)} different numbers in {text.strip()[:80]!r}")
    value = found.pop()
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        return Unparsed(f"{value:g} is outside {minimum} .. {maximum}")
    return NumberAnswer(value)
