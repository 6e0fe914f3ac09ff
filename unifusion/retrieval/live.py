"""An answer while it is made: who listens to it, and how much of it is certain to stay."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from unifusion.batch import ModalityReport
from unifusion.retrieval.asked import Said, cite
from unifusion.retrieval.passages import Passage
from unifusion.retrieval.wording import claims_of

__all__ = ["Live", "growing", "whole_characters"]

_OPEN_MARK = re.compile(r"\s*\[[^\]]*\Z")
"""What may become a mark."""
_OPEN_TAIL = re.compile(r"(?<=\])[.,;:!?]+\Z")
"""Punctuation behind a mark, which belongs to the statement before it or begins the next, as what follows has it."""


@dataclass(kw_only=True)
class Live:
    """Somebody who reads an answer as it is made; this one does nothing, to be inherited from.

    Attributes:
        cancel: once it is set, generators that can end at the next token; what they have said until then is the answer.
    """

    cancel: threading.Event = field(default_factory=threading.Event)

    def begins(self, passages: Sequence[Passage]) -> None:
        """What the answer will rest on."""

    def hears(self, number: int, text: str, ended: bool) -> None:
        """Words of a generator.

        Args:
            number: of the passage that they answer from; 0 where they are the answer over all.
            text: all of them so far.
            ended: there are no more.
        """


def growing(text: str, passages: Sequence[Passage]) -> str:
    """What `cite` is going to begin with, of an answer that is not whole: statements with their marks, and the words of the last one.

    Marks of the last statement wait until another statement follows, as further ones and the full stop may.
    """
    claims = claims_of(_OPEN_TAIL.sub("", _OPEN_MARK.sub("", text)))
    if not claims:
        return ""
    before = cite(Said(claims=claims[:-1], report=ModalityReport()), passages)[0]
    return " ".join([before, claims[-1].text]).strip()


def whole_characters(text: str) -> str:
    """Decoded text without the first bytes of a character that is not there yet; at most three are replaced by such signs."""
    return text[: len(text) - min(3, len(text) - len(text.rstrip("\ufffd")))]
