"""Parser of any number of labels out of a closed set."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.prompts.matching import find_labels
from unifusion.prompts.parsed import LabelsAnswer, Parsed, Unparsed

__all__ = ["labels"]


def labels(text: str, *, choices: Sequence[str] = ()) -> Parsed:
    """Read all of `choices` that the text names (see `matching.find_labels`)."""
    if not choices:
        return Unparsed("no labels to choose from were given")
    found = find_labels(text, choices)
    return found if isinstance(found, Unparsed) else LabelsAnswer(found)
