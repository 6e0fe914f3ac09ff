"""Reading words and numbers out of an answer: what the parsers share. Every function accepts any text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from unifusion.prompts.parsed import Unparsed

__all__ = ["NUMBER", "digits_of_words", "find_label", "find_labels", "plain"]

NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,15})?"
"""A decimal number: "3", "-0.25", "1,250.5"."""

_EDGE = " \t\n\r.,;:!?*_`\"'()[]{}<>#~-"
_MINUS = str.maketrans({"\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2019": "'", "\u2018": "'"})
_WORDS_OF_ONE_LETTER = ("a", "i")
"""Choices named so are found only as the whole answer: inside a sentence they are words."""
_NEGATION = re.compile(r"(?:\b(?:not|no|never|neither|nor|without|cannot)|n't)(?:\s+(?!but\b)[\w']+){0,2}\s*$")

_UNITS = "zero one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUE = {w: i for i, w in enumerate(_UNITS + _TEENS)} | {w: 10 * i for i, w in enumerate(_TENS, 2)}
_UNIT, _TEEN, _TEN = "|".join(_UNITS), "|".join(_TEENS), "|".join(_TENS)
_BELOW_100 = rf"(?:(?:{_TEN})(?:[\s-](?:{'|'.join(_UNITS[1:])}))?|{_TEEN}|{_UNIT})"
_SPOKEN = re.compile(
    rf"(?<!\w)(?P<sign>minus\s+|negative\s+)?(?:(?P<hundreds>{_UNIT})\s+hundred(?:\s+(?:and\s+)?(?P<rest>{_BELOW_100}))?|(?P<small>{_BELOW_100}))"
    rf"(?:\s+point(?P<decimals>(?:\s+(?:{_UNIT}))+))?(?!\w)"
)


def plain(text: str) -> str:
    """Return `text` in one case, one kind of dash, quote and space, without punctuation at its edges."""
    text = unicodedata.normalize("NFKC", text).casefold().translate(_MINUS)
    return " ".join(text.split()).strip(_EDGE)


def digits_of_words(text: str) -> str:
    """Write spoken numbers below a thousand as digits: "minus twenty-three" becomes "-23", "one point five" "1.5".

    Expects `plain` text. "one two" stays two numbers.
    """
    return _SPOKEN.sub(_digits, text)


def _digits(match: re.Match[str]) -> str:
    """Digits of one spoken number."""
    words = re.split(r"[\s-]+", match["small"] or match["rest"] or "zero")
    value = sum(_VALUE[w] for w in words) + 100 * _VALUE[match["hundreds"] or "zero"]
    decimals = "".join(str(_VALUE[w]) for w in (match["decimals"] or "").split())
    return f"{'-' if match['sign'] else ''}{value}{'.' + decimals if decimals else ''}"


def find_label(text: str, choices: Sequence[str], aliases: Mapping[str, Iterable[str]] | None = None) -> str | Unparsed:
    """Return the one of `choices` that `text` names.

    The ladder: the whole text is a choice; it is an alias of one; exactly one choice occurs as whole words (a longer choice hides
    a shorter one inside it, and an occurrence after "not" does not count). Several, or none, is `Unparsed`.

    Args:
        text: an answer.
        choices: the closed set.
        aliases: a word and its synonyms, `{"happy": ["joy", "joyful"]}`; any of a group stands for the choice in that group.
    """
    if text.strip() in choices:
        return text.strip()
    whole = plain(text)
    if not whole:
        return Unparsed("empty answer")
    terms = _grouped(choices)
    for table in (terms, synonyms := _synonyms(terms, aliases or {})):
        if whole in table:
            return _only(table[whole], "the answer")
    found = {c for o in _occurrences(whole, synonyms | terms) if not o.negated for c in o.names}
    return _only(found, f"{text.strip()[:80]!r}") if found else Unparsed(f"none of {', '.join(choices)} in {text.strip()[:80]!r}")


def find_labels(text: str, choices: Sequence[str]) -> tuple[str, ...] | Unparsed:
    """Return all of `choices` that `text` names, in the order of `choices`.

    They are found as `find_label` finds one inside a text. A name of several words for one thing ("Bark, bow-wow", as AudioSet has them) is
    found by any of them that no other choice has.
    """
    whole, terms = plain(text), _grouped(choices)
    parts: dict[str, set[str]] = {}
    for choice in choices:
        for part in map(plain, choice.split(",") if "," in choice else ()):
            if part and part not in terms:
                parts.setdefault(part, set()).add(choice)
    table = terms | {part: names for part, names in parts.items() if len(names) == 1}
    found = {name for o in _occurrences(whole, table) if not o.negated for name in o.names}
    found |= terms.get(whole, set())  # a word of one letter is found only so
    if not found:
        return Unparsed(f"none of {len(choices)} labels in {text.strip()[:80]!r}" if whole else "empty answer")
    return tuple(choice for choice in dict.fromkeys(choices) if choice in found)


def _grouped(choices: Sequence[str]) -> dict[str, set[str]]:
    """Choices by their plain form; two that look alike share one entry and are never told apart."""
    terms: dict[str, set[str]] = {}
    for choice in choices:
        if plain(choice):
            terms.setdefault(plain(choice), set()).add(choice)
    return terms


def _synonyms(terms: Mapping[str, set[str]], aliases: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Every alias whose group holds a choice, with the choices it stands for."""
    table: dict[str, set[str]] = {}
    for head, others in aliases.items():
        group = [plain(w) for w in (head, *others)]
        names = {c for w in group for c in terms.get(w, ())}
        for word in group:
            if names and word and word not in terms:
                table.setdefault(word, set()).update(names)
    return table


@dataclass(frozen=True)
class _Occurrence:
    """Where a term stands in the answer."""

    start: int
    end: int
    names: frozenset[str]
    negated: bool


def _occurrences(whole: str, terms: Mapping[str, set[str]]) -> list[_Occurrence]:
    """All terms that occur as whole words and not inside a longer term."""
    found = [
        _Occurrence(m.start(), m.end(), frozenset(names), bool(_NEGATION.search(whole[max(0, m.start() - 60) : m.start()])))
        for term, names in terms.items()
        if term not in _WORDS_OF_ONE_LETTER
        for m in re.finditer(rf"(?<!\w){re.escape(term)}(?!\w)", whole)
    ]
    reach = sorted(found, key=lambda o: (o.start, -o.end))
    kept: list[_Occurrence] = []
    furthest = -1
    for item in reach:
        if item.end > furthest or (kept and (item.start, item.end) == (kept[-1].start, kept[-1].end)):
            kept.append(item)
        furthest = max(furthest, item.end)
    return kept


def _only(names: set[str], where: str) -> str | Unparsed:
    """The single name, or why there is none."""
    return next(iter(names)) if len(names) == 1 else Unparsed(f"{where} names several: {', '.join(sorted(names))}")
