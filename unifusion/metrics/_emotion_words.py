"""Words of emotion in a text, found without a language model: by a vocabulary's forms, and not where they are denied.

"He is not angry, rather disappointed." has disappointed. What is meant but not named (tears, a raised voice) is not found; the published
evaluations ask a language model for that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.metrics._wheels import Vocabulary, own_vocabulary

__all__ = ["emotion_words"]

_PIECE = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*|[^\w\s]|\n")
_CLAUSE = set(".;!?:\n()\"") | {"but", "and", "because", "since", "so", "while", "when", "although", "though", "yet", "however", "instead"}
_CHAIN = {",", "or", "nor"}
_SMALL = {"a", "an", "any", "the", "even", "very", "of", "in", "feeling", "being"}
_DENIES = {"not", "no", "never", "neither", "nor", "without", "cannot", "hardly", "barely", "nothing", "lacks", "lacking"}
_DENIES_TOGETHER = {"rather than", "lack of", "absence of", "far from", "free of", "free from", "devoid of"}
_NOT_A_DENIAL = {"only", "just", "merely", "simply", "necessarily"}
_BETWEEN_ITEMS = {",", "/", ";", ".", "\n", "and", "or", "&", "[", "]", "'", '"', "-", "*"}
_WITH_AN_ITEM = _SMALL | {"slightly", "somewhat", "mildly"}
_REACH = 6
"""Words between a denial and what it denies: "does not show any clear signs of anger" has five."""


@dataclass(frozen=True)
class _Found:
    """A form and where it stands among the pieces, the end excluded."""

    form: str
    start: int
    end: int


def emotion_words(text: str, vocabulary: Vocabulary | None = None) -> tuple[str, ...]:
    """The emotions that a text names, each once, in their order; as the vocabulary's word where a form stands for one alone.

    | input | shape | meaning |
    |---|---|---|
    | `text` | | an answer: a list of words or whole sentences |
    | `vocabulary` | | words and wheels; None takes our own |
    """
    known = vocabulary or own_vocabulary()
    pieces = _PIECE.findall(text.lower().replace("\u2019", "'"))
    found = _forms(pieces, known)
    denied = _denied(pieces, found)
    named: dict[str, None] = {}
    for one in found:
        if one not in denied and (one.form not in known.alone or _is_item(pieces, one)):
            words = known.words[one.form]
            named[words[0] if len(words) == 1 else one.form] = None
    return tuple(named)


def _forms(pieces: Sequence[str], known: Vocabulary) -> list[_Found]:
    """Every form of the vocabulary, the longest at each place."""
    found, at = [], 0
    while at < len(pieces):
        end = next((e for e in range(min(at + known.longest, len(pieces)), at, -1) if " ".join(pieces[at:e]) in known.words), None)
        if end is not None:
            found.append(_Found(" ".join(pieces[at:end]), at, end))
        at = end or at + 1
    return found


def _denied(pieces: Sequence[str], found: Sequence[_Found]) -> set[_Found]:
    """What is said not to be there: the first form after a denial, and those that "or" and "nor" tie to it."""
    denied: set[_Found] = set()
    for number, one in enumerate(found):
        if one in denied or not _denial_before(pieces, found[number - 1].end if number else 0, one.start):
            continue
        denied.add(one)
        chain = []
        for before, after in zip(found[number:], found[number + 1 :], strict=False):
            between = set(pieces[before.end : after.start])
            if not between & _CHAIN or between - _CHAIN - _SMALL:
                break
            chain.append((after, bool(between & {"or", "nor"})))
        tied = max((k for k, (_, joined) in enumerate(chain, 1) if joined), default=0)
        denied |= {after for after, _ in chain[:tied]}
    return denied


def _denial_before(pieces: Sequence[str], low: int, start: int) -> bool:
    """Whether the words right before a form deny it."""
    near: list[str] = []
    for piece in reversed(pieces[max(low, start - _REACH - 1) : start]):
        if piece in _CLAUSE or piece == ",":
            break
        near.insert(0, piece)
    for place, piece in enumerate(near):
        denies = piece in _DENIES or piece.endswith("n't") or " ".join(near[place : place + 2]) in _DENIES_TOGETHER
        if denies and (near[place + 1 : place + 2] or [""])[0] not in _NOT_A_DENIAL:
            return True
    # "instead of" begins with a word that otherwise parts clauses.
    return " ".join(pieces[max(low, start - 2) : start]) == "instead of"


def _is_item(pieces: Sequence[str], one: _Found) -> bool:
    """Whether a form is an item of a list, or the whole answer, rather than a word of a sentence."""
    low, high = one.start, one.end
    while low > 0 and pieces[low - 1] not in _BETWEEN_ITEMS | {":"}:
        low -= 1
    while high < len(pieces) and pieces[high] not in _BETWEEN_ITEMS:
        high += 1
    return all(p in _WITH_AN_ITEM for p in (*pieces[low : one.start], *pieces[one.end : high]))
