"""Parser of a valence and an arousal."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unifusion.prompts.parsed import Parsed, Unparsed, ValenceArousalAnswer

__all__ = ["valence_arousal"]

_NUM = r"([+-]?(?:\d{1,9}(?:\.\d{1,9})?|\.\d{1,9}))(?![\w]|\.\d)"
_AFTER = r"[\s:=*\"']{0,8}(?:(?:is|of|about|around|at)\s{1,4}){0,2}"
_BARE = re.compile(rf"^\W*?{_NUM}\s*[,;/\s]\s*{_NUM}\W*$")


def valence_arousal(text: str, *, choices: Sequence[str] = (), low: float = -1.0, high: float = 1.0) -> Parsed:
    """Read "valence 0.6, arousal -0.2" in either order, or two bare numbers, valence first.

    A value outside `low` .. `high`, or two different values of one name, is `Unparsed`; nothing is clipped. `choices` is not used.
    """
    del choices
    words = text.casefold().replace("\u2212", "-")
    if match := _BARE.match(words):
        values = [float(match[1]), float(match[2])]
    else:
        named = [{float(m[1]) for m in re.finditer(rf"\b{name}{_AFTER}{_NUM}", words)} for name in ("valence", "arousal")]
        if any(len(n) != 1 for n in named):
            return Unparsed(f"not one valence and one arousal in {text.strip()[:80]!r}")
        values = [n.pop() for n in named]
    if not all(low <= v <= high for v in values):
        return Unparsed(f"valence {values[0]:g}, arousal {values[1]:g} lie outside {low:g} .. {high:g}")
    return ValenceArousalAnswer(*values)
