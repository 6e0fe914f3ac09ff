"""Parser of a label out of a closed set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unifusion.prompts.matching import find_label
from unifusion.prompts.parsed import LabelAnswer, Parsed, Unparsed

__all__ = ["label"]


def label(text: str, *, choices: Sequence[str] = (), aliases: Mapping[str, Sequence[str]] | None = None) -> Parsed:
    """Read one of `choices`: exact, then by `aliases`, then by its only whole-word occurrence (see `matching.find_label`)."""
    if not choices:
        return Unparsed("no labels to choose from were given")
    found = find_label(text, choices, aliases)
    return found if isinstance(found, Unparsed) else LabelAnswer(found)
