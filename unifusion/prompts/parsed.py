"""What a parser makes of an answer: one typed result, or `Unparsed` with the reason.

`Unparsed` is never turned into a class: the score counts it as wrong and the report counts it apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = [
    "CitedAnswer",
    "Evidence",
    "FreeAnswer",
    "LabelAnswer",
    "LabelsAnswer",
    "NumberAnswer",
    "OptionAnswer",
    "Parsed",
    "Parser",
    "RationaleAnswer",
    "SpanAnswer",
    "Statement",
    "Unparsed",
    "ValenceArousalAnswer",
    "YesNoAnswer",
]


@dataclass(frozen=True)
class Unparsed:
    """The answer does not say one thing that can be scored."""

    reason: str


@dataclass(frozen=True)
class LabelAnswer:
    """One of a closed set, spelled as in the set."""

    label: str


@dataclass(frozen=True)
class LabelsAnswer:
    """One or more of a closed set, spelled as in the set."""

    labels: tuple[str, ...]


@dataclass(frozen=True)
class OptionAnswer:
    """One of the listed options; `index` counts from 0."""

    letter: str
    index: int


@dataclass(frozen=True)
class YesNoAnswer:
    """Yes (True) or no (False)."""

    yes: bool


@dataclass(frozen=True)
class NumberAnswer:
    """One number."""

    value: float


@dataclass(frozen=True)
class SpanAnswer:
    """Seconds from the clip's start; an instant has `start_s == end_s`."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class ValenceArousalAnswer:
    """Both on the scale the template declares, -1 to 1 unless told otherwise."""

    valence: float
    arousal: float


@dataclass(frozen=True)
class Evidence:
    """One observation that a rationale names. `stream` is picture, sound or words."""

    stream: str
    start_s: float
    end_s: float
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data: `{"stream", "start_s", "end_s", "text"}`."""
        return asdict(self)


@dataclass(frozen=True)
class RationaleAnswer:
    """A label with its evidence; `unread` holds lines that are neither."""

    label: str
    evidence: tuple[Evidence, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class FreeAnswer:
    """Text that is scored as text."""

    text: str


@dataclass(frozen=True)
class Statement:
    """Words of an answer, and the numbers of the sources that they name."""

    text: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class CitedAnswer:
    """An answer cut into statements, each with what it cites."""

    statements: tuple[Statement, ...]

    @property
    def text(self) -> str:
        """The words without the marks."""
        return " ".join(s.text for s in self.statements if s.text)

    @property
    def numbers(self) -> tuple[int, ...]:
        """All that is cited, each once."""
        return tuple(dict.fromkeys(n for s in self.statements for n in s.numbers))


Parsed = (
    LabelAnswer | LabelsAnswer | OptionAnswer | YesNoAnswer | NumberAnswer | SpanAnswer | ValenceArousalAnswer | RationaleAnswer
    | CitedAnswer | FreeAnswer | Unparsed
)  # fmt: skip
Parser = Callable[..., Parsed]
"""`parser(text, *, choices=(), **options) -> Parsed`; never raises on any text."""
