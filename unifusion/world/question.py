"""The contract of question families: what a family is, what it hands back, and the Question that comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from unifusion.world.draw import Draw
from unifusion.world.script import Script

__all__ = [
    "AUDIO", "BOTH", "VIDEO", "YES_NO", "Build", "Checker", "Draft", "Family", "Needs", "Question", "an", "seconds", "times_grid", "yes_no",
]  # fmt: skip

Needs = Literal["picture", "sound", "both", "words", "time", "all"]
Checker = Literal["exact", "set", "number", "time", "free"]
VIDEO, AUDIO, BOTH = ("video",), ("audio",), ("video", "audio")
YES_NO = ("yes", "no")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about a clip, its answer and how an answer is checked."""

    family: str
    needs: Needs
    stream_needs: tuple[str, ...]
    """Streams ("video", "audio") without which it cannot be answered."""
    text: str
    answer: str
    options: tuple[str, ...] = ()
    """The closed set of answers; empty where there is none."""
    checker: Checker = "exact"
    tolerance: float = 0.0
    labels: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a family finds in a script: the answer, and the words that fill the wording of the question."""

    answer: str
    options: tuple[str, ...] = ()
    slots: Mapping[str, str] = field(default_factory=dict)
    tolerance: float = 0.0
    labels: Mapping[str, Any] = field(default_factory=dict)
    stream_needs: tuple[str, ...] = ()
    """Given where it differs from the family's."""
    checker: Checker | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    """Further texts that a task's template may show (`event`, `text`, `description`)."""


Build = Callable[[Script, Draw], Draft | None]
"""Returns None where the script has no such question, or where asking it would tilt the family's answers."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of question.

    `requires` names parts of a clip ("picture", "face", "sound", "voice"); a clip without one is asked only when `refuses`, and
    the answer then says what is missing. `timed` families need the times of spoken words.
    """

    needs: Needs
    streams: tuple[str, ...]
    build: Build
    requires: tuple[str, ...] = ()
    refuses: bool = False
    checker: Checker = "exact"
    timed: bool = False
    weight: float = 1.0
    """Share when questions are picked; rare families weigh more."""


def an(noun: str) -> str:
    """Return the noun with its article: "a bell", "an orange star"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def yes_no(truth: bool, **slots: str) -> Draft:
    """A draft answered by yes or no."""
    return Draft(answer="yes" if truth else "no", options=YES_NO, slots=slots)


def seconds(time_s: float, grid_s: float = 0.5) -> str:
    """Return a time as it is answered: the nearest multiple of the grid, one decimal."""
    return f"{round(time_s / grid_s) * grid_s:.1f} seconds"


def times_grid(low: float, high: float, grid_s: float) -> tuple[str, ...]:
    """Return the answers a time question can have, from `low` to `high`."""
    return tuple(seconds(low + i * grid_s, grid_s) for i in range(int((high - low) / grid_s + 1e-6) + 1))
