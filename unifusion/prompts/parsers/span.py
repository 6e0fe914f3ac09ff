"""Parser of a time: an instant or a span of seconds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unifusion.prompts.matching import digits_of_words, plain
from unifusion.prompts.parsed import Parsed, SpanAnswer, Unparsed

__all__ = ["span"]

_CLOCK = re.compile(r"(?<![\w.:])(\d{1,3}):([0-5]\d(?:\.\d{1,6})?)(?![\w:])")
_NUM = r"(\d{1,7}(?:\.\d{1,9})?)"
_UNIT = r"\s*(?:seconds?|secs?|s)(?!\w)"
_RANGE = re.compile(
    rf"(?<![\w.-]){_NUM}(?:{_UNIT})?\s*(?:-|\u2013|\u2014|(?<=[\d\s.a-z])\bto\b|until|till|through)\s*{_NUM}(?!\w*\d)(?:{_UNIT})?(?![\w]|\.\d)"
    rf"|between\s+{_NUM}(?:{_UNIT})?\s+and\s+{_NUM}(?:{_UNIT})?(?![\w]|\.\d)"
)
_ONE = re.compile(rf"(?<![\w.-]){_NUM}(?P<unit>{_UNIT})?(?![\w]|\.\d)")


def span(text: str, *, choices: Sequence[str] = ()) -> Parsed:
    """Read "from 1.5 to 3.0 s", "1.5-3 seconds", "0:03 - 0:05" or an instant such as "at 1.5 seconds" or "two seconds".

    Several spans, several instants, an end before its start, or a negative time is `Unparsed`. `choices` is not used.
    """
    del choices
    negative = re.match(r"\W*[-\u2212]\s?\d", text)
    words = _CLOCK.sub(lambda m: f"{60 * int(m[1]) + float(m[2]):g}", digits_of_words(plain(text)))
    ranges = {tuple(float(g) for g in m.groups() if g is not None) for m in _RANGE.finditer(words)}
    if negative or len(ranges) > 1:
        return Unparsed(f"{'a negative time' if negative else 'several spans'} in {text.strip()[:80]!r}")
    if ranges:
        start_s, end_s = ranges.pop()
        return SpanAnswer(start_s, end_s) if start_s <= end_s else Unparsed(f"the span {start_s:g}-{end_s:g} s ends before it starts")
    instants = list(_ONE.finditer(words))
    chosen = {float(m[1]) for m in instants if m["unit"]} or {float(m[1]) for m in instants}
    if len(chosen) != 1:
        return Unparsed(f"{len(chosen)} times in {text.strip()[:80]!r}")
    time_s = chosen.pop()
    return SpanAnswer(time_s, time_s)
