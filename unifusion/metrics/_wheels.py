"""Emotion wheels: any form of a word of emotion -> the wheel's word -> the inner ring that it belongs to.

Metrics of open vocabularies compare inner rings, so that "furious" and "anger" agree. The wheels of `wheels.yaml` are our own;
`unifusion.evaluation.open_emotion.read_wheels` reads the published ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["Vocabulary", "checked_words", "means", "own_vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """Words of emotion and the wheels they stand on.

    Attributes:
        words: every form, in lower case -> the words of wheels that it may stand for.
        wheels: name -> word of the wheel -> ring.
        alone: forms that are no emotion inside a sentence.
    """

    words: Mapping[str, tuple[str, ...]]
    wheels: Mapping[str, Mapping[str, str]]
    alone: frozenset[str] = frozenset()

    @cached_property
    def _found(self) -> dict[tuple[tuple[str, ...], str, bool], frozenset[str]]:
        """Rings that were looked up: an interval asks the same rows hundreds of times."""
        return {}

    @cached_property
    def longest(self) -> int:
        """Words of the longest form."""
        return max((form.count(" ") + 1 for form in self.words), default=1)

    def ring(self, word: str, wheel: str) -> str | None:
        """The ring of a word, by the first in the alphabet of what it may stand for that is on the wheel; None where none is."""
        rings = self.wheels[wheel]
        return next((rings[w] for w in sorted(self.words.get(word.lower().strip(), ())) if w in rings), None)

    def rings(self, words: Iterable[str], wheel: str, *, keep: bool = False) -> frozenset[str]:
        """The rings of some words.

        Args:
            words: in any form.
            wheel: which.
            keep: a word outside the vocabulary stands for itself; else it is dropped.
        """
        key = tuple(words), wheel, keep
        if key not in self._found:
            told = ((w, self.ring(w, wheel)) for w in key[0])
            self._found[key] = frozenset(f"word {w.lower().strip()}" if r is None else r for w, r in told if r is not None or keep)
        return self._found[key]

    def pairs(
        self, predictions: Sequence[Iterable[str]], references: Sequence[Iterable[str]], wheel: str, *, keep: bool = False
    ) -> list[tuple[frozenset[str], frozenset[str]]]:  # fmt: skip
        """The rings of each prediction and of its reference."""
        rows = zip(predictions, references, strict=True)
        return [(self.rings(said, wheel, keep=keep), self.rings(true, wheel, keep=keep)) for said, true in rows]


@lru_cache(maxsize=1)
def own_vocabulary() -> Vocabulary:
    """Our own words and wheels, of `wheels.yaml`."""
    import yaml

    raw = yaml.safe_load(Path(__file__).with_name("wheels.yaml").read_text(encoding="utf-8"))
    words = {form: (word,) for word, forms in raw["words"].items() for form in (word, *forms)}
    wheels = {name: {word: ring for ring, members in rings.items() for word in members} for name, rings in raw["wheels"].items()}
    return Vocabulary(words, wheels, frozenset(raw["alone"]))


def checked_words(predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]], name: str) -> None:
    """Refuse what is no list of words for each row.

    Raises:
        ConfigError: the lengths differ or are zero, or a row is one text instead of a list of words.
    """
    if len(predictions) != len(references) or not len(references):
        found = f"{name} of {len(predictions)} predictions for {len(references)} references;"
        raise ConfigError(found, remedy="give as many of each, at least one.")
    for row in (*predictions, *references):
        if isinstance(row, str) or not isinstance(row, Iterable) or not all(isinstance(w, str) for w in row):
            found = f"{name}: a row is {row!r};"
            remedy = "give a list of words, an empty one for none; evaluation.open_emotion.emotions_in finds them in a text."
            raise ConfigError(found, remedy=remedy)


def means(values: Sequence[Sequence[float]]) -> list[float]:
    """Mean of each column; none of no rows."""
    return [float(v) for v in np.mean(np.asarray(values, dtype=np.float64), axis=0)] if len(values) else []
