"""Parser of free text."""

from __future__ import annotations

from collections.abc import Sequence

from unifusion.prompts.parsed import FreeAnswer, Parsed, Unparsed

__all__ = ["free"]


def free(text: str, *, choices: Sequence[str] = ()) -> Parsed:
    """Keep the text without the space around it; an empty answer is `Unparsed`. `choices` is not used."""
    del choices
    kept = text.strip()
    return FreeAnswer(kept) if kept else Unparsed("empty answer")
