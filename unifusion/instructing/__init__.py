"""Labelled sets as instruction conversations: which tasks a row affords, negatives, refusals, exact balance, and how they are looked at."""

from __future__ import annotations

from unifusion.instructing.making import InstructChoices, instruct

__all__ = ["InstructChoices", "instruct"]
