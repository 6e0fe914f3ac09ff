"""Parser of an answer that cites numbered sources: `A dog barks [1]. Somebody laughs [2, 3].`"""

from __future__ import annotations

import re
from collections.abc import Sequence

from unifusion.prompts.parsed import CitedAnswer, Parsed, Statement, Unparsed

__all__ = ["cited"]

_MOST = 64
"""Numbers of one mark; `[1-9999]` cites nothing."""
_ONE = r"(?:clips?|windows?|sources?)?\s{0,2}\#?[0-9]{1,4}"
_AND = r"\s{0,3}(?:,|;|&|and|to|-|\u2013|\u2014)\s{0,3}"
_MARK = re.compile(rf"\s{{0,3}}\[\s{{0,3}}({_ONE}(?:{_AND}{_ONE}){{0,{_MOST}}})\s{{0,3}}\]", re.IGNORECASE)
_SPAN = re.compile(r"([0-9]{1,4})\s*(?:-|\u2013|\u2014|to)\s*(?:[a-z]+\s*)?#?([0-9]{1,4})|([0-9]{1,4})", re.IGNORECASE)
_TAIL = re.compile(r"\A[.,;:!?]+(?=\s|\Z)")
"""Punctuation behind a mark, which belongs to the statement before it."""


def cited(text: str, *, choices: Sequence[str] = ()) -> Parsed:
    """Cut an answer at its marks: what stands before a mark, or several in a row, rests on the numbers in them.

    `[1]`, `[1, 2]`, `[1][2]`, `[2-4]` and `[clip 1]` are marks. Text without one behind it cites nothing. An answer without a word is
    `Unparsed`. `choices` is not used.
    """
    del choices
    statements: list[Statement] = []
    begin = 0
    for mark in [*_MARK.finditer(text), None]:
        said = text[begin : mark.start()] if mark else text[begin:]
        numbers = _numbers(mark[1]) if mark else ()
        if tail := _TAIL.match(said) if statements else None:
            statements[-1] = Statement(statements[-1].text + tail[0], statements[-1].numbers)
            said = said[tail.end() :]
        if said.strip() or (mark and not statements):
            statements.append(Statement(said.strip(), numbers))
        elif mark:
            statements[-1] = Statement(statements[-1].text, tuple(dict.fromkeys((*statements[-1].numbers, *numbers))))
        begin = mark.end() if mark else len(text)
    if not any(re.search(r"\w", s.text) for s in statements):
        return Unparsed("no words beside the marks" if statements else "empty answer")
    return CitedAnswer(tuple(statements))


def _numbers(inside: str) -> tuple[int, ...]:
    """The numbers of one mark in their order; a span stands for all in it."""
    found: dict[int, None] = {}
    for first, last, one in _SPAN.findall(inside):
        low, high = (int(one), int(one)) if one else (int(first), int(last))
        found.update(dict.fromkeys(range(low, high + 1) if high - low < _MOST else (low, high)))
    return tuple(found)
