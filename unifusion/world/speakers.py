"""The speakers of clip world: 12 low and 12 high voices, as data.

Each speaker is an espeak-ng voice variant of our own. The variants that come with espeak-ng carry flutter, echo and
breath whose state survives from one utterance to the next, so the same call gives other samples each time; ours have
none of these and are the same to the bit (`voice.py` adds drift from a seed instead). Any speaker speaks any language.

Low and high speakers do not touch even after emotion has moved the pitch: the highest low voice in fear stays below
the lowest high voice in sadness, and the formants differ as well (a longer and a shorter vocal tract).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unifusion.errors import ConfigError, nearest

__all__ = ["READERS", "SPEAKERS", "Speaker", "names_of", "speaker"]


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """One voice: pitch in Hz at espeak's middle setting, formants in percent of the language's own."""

    register: Literal["high", "low"]
    low_hz: int
    """F0 at the foot of the intonation curve."""
    high_hz: int
    """F0 at its top."""
    tract: tuple[int, int, int, int]
    """Percent for formants 1, 2, 3 and 4-8: below 100 a longer vocal tract."""
    bright: int = 100
    """Percent for the height of formants 2-4."""
    width: int = 100
    """Percent for the width of all formants: wide is muffled, narrow is ringing."""

    def variant_file(self, name: str) -> str:
        """The text of an espeak-ng voice variant, without flutter, echo, roughness and breath."""
        f1, f2, f3, upper = self.tract
        lines = ["language variant", f"name {name}", "flutter 0", "roughness 0", "echo 0 0", f"pitch {self.low_hz} {self.high_hz}"]
        lines += [f"formant 0 {f1} 100 {self.width}", f"formant 1 {f1} 100 {self.width}"]
        lines += [f"formant 2 {f2} {self.bright} {self.width}", f"formant 3 {f3} {self.bright} {self.width}"]
        lines += [f"formant 4 {upper} {self.bright} {self.width}"]
        lines += [f"formant {k} {upper} 100 {self.width}" for k in range(5, 9)]
        return "\n".join(lines) + "\n"


def _low(low_hz: int, high_hz: int, tract: tuple[int, int, int, int], bright: int = 100, width: int = 100) -> Speaker:
    return Speaker(register="low", low_hz=low_hz, high_hz=high_hz, tract=tract, bright=bright, width=width)


def _high(low_hz: int, high_hz: int, tract: tuple[int, int, int, int], bright: int = 100, width: int = 100) -> Speaker:
    return Speaker(register="high", low_hz=low_hz, high_hz=high_hz, tract=tract, bright=bright, width=width)


SPEAKERS: dict[str, Speaker] = {
    "low01": _low(80, 112, (100, 100, 100, 100)),
    "low02": _low(74, 104, (94, 94, 94, 95), 95),
    "low03": _low(90, 124, (102, 97, 96, 98), 105, 90),
    "low04": _low(70, 100, (90, 92, 95, 92), 90, 110),
    "low05": _low(92, 126, (104, 101, 102, 102), 100, 85),
    "low06": _low(85, 115, (95, 102, 98, 100), 85, 115),
    "low07": _low(77, 112, (98, 90, 100, 95), 110, 90),
    "low08": _low(92, 130, (92, 98, 92, 95), 100, 105),
    "low09": _low(83, 113, (104, 95, 103, 98), 80, 100),
    "low10": _low(88, 122, (97, 103, 94, 104), 115, 95),
    "low11": _low(72, 106, (93, 99, 101, 94), 105, 80),
    "low12": _low(93, 125, (100, 93, 97, 100), 95, 120),
    "high01": _high(186, 245, (112, 112, 112, 110)),
    "high02": _high(190, 262, (108, 116, 113, 112), 95, 90),
    "high03": _high(205, 285, (118, 118, 116, 115), 100, 110),
    "high04": _high(182, 240, (110, 108, 112, 108), 90, 100),
    "high05": _high(198, 268, (115, 120, 110, 114), 110, 90),
    "high06": _high(185, 250, (106, 112, 118, 110), 85, 115),
    "high07": _high(212, 290, (120, 114, 120, 118), 105, 95),
    "high08": _high(184, 248, (114, 107, 109, 112), 100, 85),
    "high09": _high(194, 260, (109, 119, 108, 116), 80, 105),
    "high10": _high(202, 278, (116, 110, 117, 108), 115, 100),
    "high11": _high(187, 252, (118, 113, 107, 114), 90, 120),
    "high12": _high(208, 280, (111, 117, 114, 120), 105, 80),
}

READERS: dict[str, Speaker] = {
    "reader_low": _low(105, 140, (100, 100, 100, 100)),
    "reader_high": _high(172, 228, (109, 111, 111, 110)),
}
"""Voices that read words out for what is aligned to them; nobody in clip world has one of these."""


def speaker(name: str) -> Speaker:
    """Return one speaker by the name that `script.Voice.variant` carries, or a reader.

    Raises:
        ConfigError: nobody has this name.
    """
    known = SPEAKERS | READERS
    if name not in known:
        raise ConfigError(f"no speaker {name!r} in clip world;", remedy=nearest(name, list(known)))
    return known[name]


def names_of(register: Literal["high", "low"]) -> list[str]:
    """Return the names of all high or all low speakers, sorted."""
    return sorted(name for name, who in SPEAKERS.items() if who.register == register)
