"""CIDEr-D: how well a caption agrees with what several people wrote, rare words counting more."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unifusion.errors import ConfigError
from unifusion.metrics._ptb import ptb_words
from unifusion.metrics._texts import References, paired

__all__ = ["cider_d"]

Ngram = tuple[str, ...]
Weighed = list[dict[Ngram, float]]


@dataclass(frozen=True)
class CiderD:
    """A score and what it is the mean of."""

    value: float
    """From 0 to 10; papers print it times 10, or times 100."""
    each: tuple[float, ...]
    """Of each prediction."""


def cider_d(
    predictions: Sequence[str],
    references: References,
    *,
    frequencies: Mapping[Ngram, float] | None = None,
    documents: int | None = None,
    n: int = 4,
    sigma: float = 6.0,
    tokenized: bool = False,
) -> CiderD:
    """CIDEr-D (Vedantam et al. 2015) as coco-caption computes it, in plain Python.

    The mean over n-grams of 1 to n words, and over a row's references, of the cosine of tf-idf vectors, in which a repeated word of the
    prediction counts no more often than in the reference, times exp(-(difference of lengths)^2 / (2 sigma^2)), times 10. Two details of
    coco-caption are kept: an n-gram that no reference holds has the document frequency 1, and lengths are numbers of bigrams.

    | input | shape | meaning |
    |---|---|---|
    | `predictions` | (N,) | captions as generated |
    | `references` | (N,) | of each one text or several |
    | `frequencies` | | n-gram -> in how many documents; None counts them in `references`, so that the score depends on the set |
    | `documents` | | how many documents those were counted in; goes with `frequencies` |
    | `n`, `sigma` | | longest n-gram; width of the penalty |
    | `tokenized` | | texts are words parted by spaces already; else `_ptb.ptb_words` parts them, after Stanford's tokeniser |

    Raises:
        ConfigError: lengths do not fit, `n` or `sigma` is not positive, or frequencies come without the number of documents.
    """
    rows = paired(predictions, references, "cider_d")
    if n < 1 or not sigma > 0 or (frequencies is None) != (documents is None) or (documents is not None and documents < 1):
        given = "no" if frequencies is None else len(frequencies)
        found = f"cider_d with n {n}, sigma {sigma}, {given} frequencies of {documents} documents;"
        raise ConfigError(found, remedy="n from 1, sigma above 0; give frequencies and documents together, or neither.")
    said = [_counted(text, n, tokenized) for text in predictions]
    wanted = [[_counted(text, n, tokenized) for text in row] for row in rows]
    if frequencies is None:
        frequencies, documents = Counter(gram for row in wanted for gram in set().union(*row)), len(rows)
        if documents == 1:
            warnings.warn("cider_d: frequencies of a single document weigh every word 0; give frequencies", RuntimeWarning, stacklevel=2)
    weigh = _Weights(frequencies, math.log(float(documents or 1)), n)
    each = []
    for one, others in zip(said, wanted, strict=True):
        own = weigh(one)
        each.append(10.0 * sum(_similarity(own, weigh(other), sigma) for other in others) / n / len(others))
    return CiderD(sum(each) / len(each), tuple(each))


def _counted(text: str, n: int, tokenized: bool) -> Counter[Ngram]:
    """How often each n-gram of 1 to n words occurs."""
    words = text.split() if tokenized else ptb_words(text)
    return Counter(tuple(words[i : i + k]) for k in range(1, n + 1) for i in range(len(words) - k + 1))


@dataclass(frozen=True)
class _Vector:
    """tf-idf by length of n-gram, their norms, and the number of bigrams."""

    parts: Weighed
    norms: list[float]
    length: int


class _Weights:
    """Makes vectors out of counts."""

    def __init__(self, frequencies: Mapping[Ngram, float], log_documents: float, n: int) -> None:
        self._frequencies, self._log_documents, self._n = frequencies, log_documents, n

    def __call__(self, counts: Mapping[Ngram, int]) -> _Vector:
        """The vector of one text."""
        parts: Weighed = [{} for _ in range(self._n)]
        for gram, count in counts.items():
            parts[len(gram) - 1][gram] = count * (self._log_documents - math.log(max(1.0, self._frequencies.get(gram, 0.0))))
        norms = [math.sqrt(sum(v * v for v in part.values())) for part in parts]
        return _Vector(parts, norms, sum(c for gram, c in counts.items() if len(gram) == 2))


def _similarity(one: _Vector, other: _Vector, sigma: float) -> float:
    """Sum over lengths of n-gram of the clipped cosine, made less by the difference of lengths."""
    total = 0.0
    for part, wanted, norm, norm_wanted in zip(one.parts, other.parts, one.norms, other.norms, strict=True):
        shared = sum(min(value, wanted[gram]) * wanted[gram] for gram, value in part.items() if gram in wanted)
        total += shared / (norm * norm_wanted) if norm and norm_wanted else shared
    return total * math.exp(-((one.length - other.length) ** 2) / (2 * sigma**2))
