"""What metrics of texts share: predictions with their references, a score with its signature, the door to an optional library."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unifusion.errors import ConfigError

__all__ = ["References", "Signed", "corpus_streams", "library", "paired", "words_of"]

_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[a-z0-9]+|[{_SIGNS}]|[^\W\u0000-\u02ff{_SIGNS}]+")

References = Sequence[str | Sequence[str]]
"""For each prediction one reference or several."""


@dataclass(frozen=True)
class Signed:
    """A score with what it was made by."""

    value: float
    """From 0 to 100, as sacrebleu has it."""
    signature: str
    """sacrebleu's: number of references, case, tokeniser, smoothing, version. Without it the number cannot be compared."""


def paired(predictions: Sequence[str], references: References, name: str) -> list[list[str]]:
    """The references of each prediction as a list.

    Args:
        predictions: (N,) texts.
        references: (N,), of each one text or several.
        name: of the metric, for the error.

    Raises:
        ConfigError: the lengths differ or are zero, something is no text, or a prediction has no reference.
    """
    if isinstance(predictions, str) or isinstance(references, str) or len(predictions) != len(references) or not len(predictions):
        given = "one text" if isinstance(predictions, str) else f"{len(predictions)} predictions"
        raise ConfigError(f"{name} of {given} for {len(references)} rows of references;", remedy="give a list of each, equally long.")
    rows = [[r] if isinstance(r, str) else list(r) for r in references]
    for i, (said, wanted) in enumerate(zip(predictions, rows, strict=True)):
        if not wanted or not all(isinstance(text, str) for text in (said, *wanted)):
            found = f"{name}: row {i} has prediction {said!r} and references {wanted!r};"
            raise ConfigError(found, remedy="give a text and at least one reference; an answer that is lacking is an empty text.")
    return rows


def words_of(text: str) -> list[str]:
    """Words as ROUGE counts them: runs of a-z and 0-9, as in rouge-score, and what it drops of scripts other than Latin.

    Of those a run of letters is a word, and each Chinese or Japanese sign, which no blank parts.
    """
    return _WORDS.findall(text.lower())


def corpus_streams(rows: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: the first of every row, the second .., None where a row has no more."""
    return [[row[k] if k < len(row) else None for row in rows] for k in range(max(map(len, rows)))]


def library(name: str, package: str) -> Any:
    """Import an optional module.

    Args:
        name: of the module.
        package: that brings it.

    Raises:
        ConfigError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"this metric needs {package};", remedy="pip install 'unifusion-x[eval]'") from error
