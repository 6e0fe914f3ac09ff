"""Changes to a text that keep what it tells: words left out, a run of words left out, another wording.

What a label hangs on is never left out: numbers, negations, left and right, above and below, first and last, colours (`KEPT`), and words
that the caller names. Paraphrases come from two small tables, both replaceable: `TEMPLATES`, sentences that say the same, and `SYNONYMS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["KEPT", "SYNONYMS", "TEMPLATES", "delete_span", "drop_words", "paraphrase", "replace_synonyms"]

KEPT = frozenset(
    "no not never none nobody nothing without neither nor left right up down above below over under in on off before after during while "
    "first last one two three four five six seven eight nine ten zero red green blue yellow orange purple white black "
    "circle square triangle star diamond louder softer faster slower more less".split()
)
"""Words that are never left out; words with a digit, or that end in n't, are neither."""

SYNONYMS: tuple[tuple[str, ...], ...] = (
    ("picture", "image"), ("small", "little"), ("large", "big"), ("happy", "glad", "joyful"), ("sad", "unhappy"), ("angry", "furious"),
    ("afraid", "frightened"), ("surprised", "astonished"), ("begins", "starts"), ("ends", "stops"), ("talks", "speaks"),
    ("somebody", "someone"), ("quiet", "silent"),
)  # fmt: skip
"""Words and phrases that may stand for one another in captions; few, so that none changes the meaning."""

TEMPLATES: tuple[tuple[str, ...], ...] = (
    ("The face is {x}.", "Somebody looks {x}.", "The person's face seems {x}.", "A face that is {x}."),
    ("The voice is {x}.", "Somebody sounds {x}.", "The person's voice seems {x}.", "A voice that is {x}."),
    ("There is {x}.", "{x} is there.", "The clip has {x}."),
    ("There is no {x}.", "The clip has no {x}.", "No {x} is there."),
    ("{x} moves {y}.", "{x} goes {y}.", "One sees that {x} moves {y}."),
    ("the sound of {x}", "a recording of {x}", "{x} can be heard", "one hears {x}"),
    ("a photo of {x}", "a picture of {x}", "an image of {x}", "{x} can be seen"),
)
"""Groups of sentences that say the same; a text is cut into sentences, and one that fits a form of a group may take another of it."""

_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def _held(word: str, keep: frozenset[str]) -> bool:
    """Whether a word stays."""
    bare = word.strip(".,;:!?\"'()").lower()
    return bare in keep or bare.endswith(("n't", "n’t")) or any(c.isdigit() for c in bare)


def drop_words(text: str, part: float, rng: np.random.Generator, *, keep: Sequence[str] = ()) -> str:
    """Leave out each word with probability `part`, but none of `KEPT` and `keep`; one word is always left. The order stays."""
    words, kept = text.split(), KEPT | {k.lower() for k in keep}
    draws = rng.random(len(words))
    left = [w for w, draw in zip(words, draws, strict=True) if draw >= part or _held(w, kept)]
    return " ".join(left or words[int(draws.argmax()) : int(draws.argmax()) + 1])


def delete_span(text: str, part: float, where: float, *, keep: Sequence[str] = ()) -> str:
    """Leave out a run of `part` of the words (rounded down), beginning at `where` of the free room; kept words within it stay.

    Args:
        text: any.
        part, where: in [0, 1]; one word is always left.
        keep: as for `drop_words`.
    """
    words, kept = text.split(), KEPT | {k.lower() for k in keep}
    length = min(int(part * len(words)), len(words) - 1)
    first = min(int(where * (len(words) - length + 1)), len(words) - length)
    return " ".join(w for k, w in enumerate(words) if not first <= k < first + length or _held(w, kept))


def replace_synonyms(
    text: str, part: float, rng: np.random.Generator, *, synonyms: Sequence[Sequence[str]] = SYNONYMS, keep: Sequence[str] = ()
) -> str:
    """Put another of its group for each word or phrase of a group with probability `part`; one that is in `keep` stays."""
    group_of = {s.lower(): group for group in synonyms for s in group}
    if not group_of:
        return text
    kept = {k.lower() for k in keep}

    def other(found: re.Match[str]) -> str:
        """Another of the group, with the first letter's case."""
        happens, which = rng.random(2).tolist()
        said = found[0]
        others = [s for s in group_of[said.lower()] if s.lower() != said.lower()]
        if happens >= part or not others or any(w in kept for w in said.lower().split()):
            return said
        chosen = others[int(which * len(others))]
        return chosen[0].upper() + chosen[1:] if said[0].isupper() else chosen

    return _any_of(tuple(group_of)).sub(other, text)


@lru_cache(maxsize=32)
def _any_of(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Whole words, longer phrases first."""
    return re.compile(rf"\b(?:{'|'.join(re.escape(p) for p in sorted(phrases, key=len, reverse=True))})\b", re.IGNORECASE)


def paraphrase(text: str, rng: np.random.Generator, *, templates: Sequence[Sequence[str]] = TEMPLATES) -> str:
    """Say each sentence that fits a form of a group in another form of the group; sentences that fit none stay.

    Raises:
        ConfigError: a group of one form, or forms of one group with other slots.
    """
    said = []
    for sentence in _SENTENCE.split(text.strip()):
        found = _fitting(sentence, tuple(map(tuple, templates)))
        draw = float(rng.random())
        if found is None:
            said.append(sentence)
            continue
        others, slots = found
        form = others[int(draw * len(others))]
        new = _filled(form, slots)
        said.append(new[0].upper() + new[1:] if form.startswith("{") and sentence[0].isupper() else new)
    return " ".join(said)


def _filled(form: str, slots: Mapping[str, str]) -> str:
    """A form with its slots filled."""
    return _SLOT.sub(lambda slot: slots[slot[1]], form)


def _fitting(sentence: str, templates: tuple[tuple[str, ...], ...]) -> tuple[list[str], dict[str, str]] | None:
    """The other forms of the group that fits closest (most words of its own), what fills its slots."""
    best: tuple[int, list[str], dict[str, str]] | None = None
    for forms, patterns in zip(templates, _patterns(templates), strict=True):
        for form, pattern in zip(forms, patterns, strict=True):
            match = pattern.fullmatch(sentence)
            own = len(_SLOT.sub("", form).split())
            if match and (best is None or own > best[0]):
                slots = {name: _lower_article(value) for name, value in match.groupdict().items()}
                best = (own, [f for f in forms if f != form], slots)
    return None if best is None else best[1:]


def _lower_article(value: str) -> str:
    """"A bell" within a sentence is "a bell"."""
    first, _, rest = value.partition(" ")
    return f"{first.lower()} {rest}" if first in ("A", "An", "The") and rest else value


@lru_cache(maxsize=32)
def _patterns(templates: tuple[tuple[str, ...], ...]) -> list[list[re.Pattern[str]]]:
    """What each form fits."""
    found = []
    for forms in templates:
        slots = {frozenset(_SLOT.findall(form)) for form in forms}
        if len(forms) < 2 or len(slots) != 1:
            raise ConfigError(f"paraphrases {list(forms)};", remedy="give two forms or more, each with the same {slots}.")
        found.append([re.compile("".join(_part(p) for p in re.split(r"(\{\w+\})", form)), re.IGNORECASE) for form in forms])
    return found


def _part(text: str) -> str:
    """A slot takes anything."""
    slot = _SLOT.fullmatch(text)
    return f"(?P<{slot[1]}>.+?)" if slot else re.escape(text)
