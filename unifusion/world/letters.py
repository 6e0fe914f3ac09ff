"""Digits and letters as strokes on a grid 4 wide and 6 high, so that no font file decides what a sign looks like."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["GLYPHS", "strokes"]

GLYPHS = {
    "0": "1,0 3,0 4,1.2 4,4.8 3,6 1,6 0,4.8 0,1.2 1,0",
    "1": "0.6,1.4 2.2,0 2.2,6|0.8,6 3.6,6",
    "2": "0,1.4 1,0 3,0 4,1.2 4,2.2 0,6 4,6",
    "3": "0,0.8 1,0 3,0 4,1 4,2 3,2.9 1.6,2.9|3,2.9 4,3.8 4,5 3,6 1,6 0,5.2",
    "4": "3,6 3,0 0,4.2 4,4.2",
    "5": "3.8,0 0.4,0 0.2,2.7 2.6,2.5 4,3.5 4,4.8 2.8,6 1,6 0,5.2",
    "6": "3.4,0 1.4,0.8 0,3 0,4.8 1,6 3,6 4,4.9 4,3.8 3,2.8 1.2,2.8 0,3.8",
    "7": "0,0 4,0 1.4,6",
    "8": "2,2.8 0.6,2.2 0.3,1.2 1,0 3,0 3.7,1.2 3.4,2.2 2,2.8 0.4,3.6 0,4.8 1,6 3,6 4,4.8 3.6,3.6 2,2.8",
    "9": "0.6,6 2.6,5.2 4,3 4,1.2 3,0 1,0 0,1.1 0,2.2 1,3.2 2.8,3.2 4,2.2",
    "A": "0,6 2,0 4,6|0.8,4 3.2,4", "B": "0,0 0,6 3,6 4,5 4,4 3,2.9 0,2.9|3,2.9 3.7,2 3.7,0.9 3,0 0,0",
    "C": "4,0.9 3,0 1,0 0,1.2 0,4.8 1,6 3,6 4,5.1", "D": "0,0 0,6 2.4,6 4,4.6 4,1.4 2.4,0 0,0",
    "E": "4,0 0,0 0,6 4,6|0,2.9 3,2.9", "F": "4,0 0,0 0,6|0,2.9 3,2.9",
    "G": "4,0.9 3,0 1,0 0,1.2 0,4.8 1,6 3,6 4,5 4,3.2 2.2,3.2", "H": "0,0 0,6|4,0 4,6|0,3 4,3",
    "I": "2,0 2,6|0.8,0 3.2,0|0.8,6 3.2,6", "J": "4,0 4,4.8 3,6 1,6 0,4.8", "K": "0,0 0,6|4,0 0,3.4|1.4,2.4 4,6",
    "L": "0,0 0,6 4,6", "M": "0,6 0,0 2,3.4 4,0 4,6", "N": "0,6 0,0 4,6 4,0",
    "O": "1,0 3,0 4,1.2 4,4.8 3,6 1,6 0,4.8 0,1.2 1,0", "P": "0,6 0,0 3,0 4,1 4,2.2 3,3.2 0,3.2",
    "Q": "1,0 3,0 4,1.2 4,4.8 3,6 1,6 0,4.8 0,1.2 1,0|2.4,4.2 4,6", "R": "0,6 0,0 3,0 4,1 4,2 3,3 0,3|2,3 4,6",
    "S": "4,0.8 3,0 1,0 0,1 0,2 1,2.8 3,3.2 4,4 4,5 3,6 1,6 0,5.2", "T": "0,0 4,0|2,0 2,6",
    "U": "0,0 0,4.8 1,6 3,6 4,4.8 4,0", "V": "0,0 2,6 4,0", "W": "0,0 1,6 2,2.4 3,6 4,0", "X": "0,0 4,6|4,0 0,6",
    "Y": "0,0 2,3 4,0|2,3 2,6", "Z": "0,0 4,0 0,6 4,6", " ": "", "-": "0.8,3 3.2,3", "!": "2,0 2,4|2,5.4 2,6",
    "?": "0,1.2 1,0 3,0 4,1.2 4,2 2,3.4 2,4.2|2,5.4 2,6",
}  # fmt: skip
"""Character -> strokes, parted by `|`, each a list of x,y corners."""


@lru_cache(maxsize=256)
def strokes(character: str) -> tuple[np.ndarray, ...]:
    """Return the strokes of one character, each (P, 2) in [0, 1] x [0, 1]; small letters are shown as capitals.

    Raises:
        ConfigError: there is no such character.
    """
    code = GLYPHS.get(character.upper())
    if code is None:
        raise ConfigError(f"a sign cannot show {character!r};", remedy=f"use {''.join(GLYPHS)!r}.")
    lines = [[tuple(map(float, corner.split(","))) for corner in line.split()] for line in code.split("|") if line]
    return tuple(np.array(line) / (4.0, 6.0) for line in lines)
