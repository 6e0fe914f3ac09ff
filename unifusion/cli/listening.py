"""What a terminal shows of an answer over an index while it is made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from unifusion.cli import common
from unifusion.retrieval.live import Live, growing
from unifusion.retrieval.passages import Passage, place

__all__ = ["Listener"]


@dataclass(kw_only=True)
class Listener(Live):
    """Writes the answer as far as it is certain, statement by statement with its marks, where the answer belongs.

    Answers of windows by themselves are weighed when all of them are there. Until then they are told beside the answer, one window after
    the other, the most relevant first.

    Attributes:
        out: where the answer belongs.
        written: what stands there already; the answer begins with it, unless a generator takes back what it said.
    """

    out: TextIO = field(default_factory=lambda: sys.stdout)
    written: str = ""
    _passages: Sequence[Passage] = ()
    _said: dict[int, tuple[str, bool]] = field(default_factory=dict)
    _at: int = 0
    _told: str = ""

    def begins(self, passages: Sequence[Passage]) -> None:
        """Remember them."""
        self._passages = passages

    def hears(self, number: int, text: str, ended: bool) -> None:
        """Show what is new."""
        if number == 0 or len(self._passages) == 1:
            self._answer(growing(text, self._passages) if number == 0 else text)
            return
        self._said[number] = text, ended
        self._windows()

    def _answer(self, text: str) -> None:
        """Write what goes on from what stands there."""
        if text.startswith(self.written) and text != self.written:
            print(common.visible(text[len(self.written) :]), end="", file=self.out, flush=True)
            self.written = text

    def _windows(self) -> None:
        """Tell what windows say, in their order: the next one when that before it has ended."""
        while self._at < len(self._passages):
            passage = self._passages[self._at]
            text, ended = self._said.get(passage.number, ("", False))
            if text and not self._told:
                common.note(f"{passage.number} {place(passage.name, passage.start_s, passage.end_s)}: ", end="")
            if text.startswith(self._told) and text != self._told:
                common.note(text[len(self._told) :], end="")
                self._told = text
            if not ended:
                return
            if self._told:
                common.note("")
            self._at, self._told = self._at + 1, ""

    def rest(self, answer: str) -> str:
        """What is to be printed yet of the whole answer."""
        if answer.startswith(self.written):
            return answer[len(self.written) :]
        return f"\n{answer}"
