"""Parser of an option letter. "A man walks" is not option A: a bare A (or I) counts only where it cannot be a word."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from unifusion.prompts.matching import find_label, plain
from unifusion.prompts.parsed import OptionAnswer, Parsed, Unparsed

__all__ = ["option"]

_ALONE = re.compile(r"^[\s*_`\"'(\[]*([A-Za-z])[\s*_`\"')\].,:;!?]*$")
_LEADING = re.compile(r"^[\s*_`\"'(\[]*(?:([A-Za-z])[*_`]*[).:\]]|([B-HJ-Z])[*_`]*\s*[,;\u2013\u2014-])[*_`)\]\s]*(.*)$", re.DOTALL)
_CUED = re.compile(
    r"\b(?i:answer|option|choice)(?:\s+is)?\s*:?\s*[*_`\"'(\[]*"
    r"(?:([B-HJ-Z])(?![\w'\u2019])|([AIa-z])(?![\w'\u2019])(?!\s+(?!(?:because|since)\b)[a-z]))"
)
_STANDING = re.compile(
    r"(?<![\w'\u2019])(?:\(([A-Za-z])\)|([B-HJ-Z])(?![\w'\u2019])|([AI])(?=\s*(?:,|/|or\b|and\b)\s*[A-Z](?!\w)))"
    r"|(?<=[A-Z] or )([AI])(?![\w'\u2019])|(?<=[A-Z] and )([AI])(?![\w'\u2019])"
)


def option(text: str, *, choices: Sequence[str] = ()) -> Parsed:
    """Read the letter of one option.

    The ladder: the letter alone; a leading letter with its mark ("B. red circle"); after "answer is" or "option"; the only
    letter standing alone; the only option whose text occurs. Two different letters, a letter beyond the last option, or a
    leading letter whose text is another option's, is `Unparsed`.

    Args:
        text: an answer.
        choices: texts of the options in order; five unnamed ones when empty.
    """
    letters = string.ascii_uppercase[: len(choices) or 5]
    letter, rest = _letter(text)
    if letter is None:
        return _by_text(text, choices, letters)
    if letter not in letters:
        return Unparsed(f"letter {letter!r} is beyond the last option {letters[-1]!r}")
    named = [i for i, c in enumerate(choices) if rest and plain(rest) == plain(c)]
    if named and letters.index(letter) not in named:
        return Unparsed(f"letter {letter!r} stands before the text of option {letters[named[0]]!r}")
    return OptionAnswer(letter, letters.index(letter))


def _letter(text: str) -> tuple[str | None, str]:
    """The letter the answer gives, upper case, and the text after a leading one. An unclear answer gives None."""
    if match := _ALONE.match(text):
        return match[1].upper(), ""
    if match := _LEADING.match(text):
        return (match[1] or match[2]).upper(), match[3]
    for pattern in (_CUED, _STANDING):
        found = {next(g for g in m.groups() if g).upper() for m in pattern.finditer(text)}
        if len(found) == 1:
            return found.pop(), ""
        if found:
            return None, ""
    return None, ""


def _by_text(text: str, choices: Sequence[str], letters: str) -> Parsed:
    """The option whose text the answer names, if it is the only one."""
    if not choices:
        return Unparsed(f"no option letter in {text.strip()[:80]!r}")
    found = find_label(text, choices)
    if isinstance(found, Unparsed):
        return found
    index = list(choices).index(found)
    if list(choices).count(found) > 1:
        return Unparsed(f"several options read {found!r}")
    return OptionAnswer(letters[index], index)
