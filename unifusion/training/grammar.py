"""Questions in many words from few lines: `{What|Which} {emotion|feeling} is it?`, drawn from a YAML file of families.

People ask in words that no line has. So that a reader goes by all of a question and takes no harm from what it does not know, some may
be loose: with something around them, or with words that nobody knows, misspelt or left out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import yaml

from unifusion.errors import ConfigError, nearest

__all__ = ["Grammar"]

AROUND = "around"
"""Family of what may stand around a question `<q>`."""
_WORN = 0.15
"""Share of the words of a worn question that are changed."""


class Grammar:
    """Families of questions with alternatives in braces.

    Args:
        path: YAML, family -> lines.
        loose: share of the questions that are loose.

    Raises:
        ConfigError: it is no such file, or a line's braces do not close.
    """

    def __init__(self, path: str | Path, *, loose: float = 0.0) -> None:
        self.path, self.loose = Path(path), loose
        try:
            raw = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read {path}: {str(error).splitlines()[0]};", remedy="give a YAML file of questions.") from error
        if not isinstance(raw, dict) or not all(isinstance(v, list) and v and all(isinstance(x, str) for x in v) for v in raw.values()):
            raise ConfigError(f"{path} holds no families of questions;", remedy='write `sound: ["What do you hear?"]`.')
        self.families: dict[str, list[str]] = {family: lines for family, lines in raw.items() if family != AROUND}
        self.around: list[str] = raw.get(AROUND, [])
        for family, lines in raw.items():
            for line in lines:
                depth = 0
                for letter in line:
                    depth += (letter == "{") - (letter == "}")
                    if depth < 0:
                        break
                if depth:
                    raise ConfigError(f"{path}, {family}: the braces of {line!r} do not close;", remedy="write {one|or another}.")

    def ask(self, family: str, rng: random.Random, slots: Mapping[str, str] | None = None) -> str:
        """One question of a family, `<name>` filled in from `slots`.

        Raises:
            ConfigError: there is no such family.
        """
        if family not in self.families:
            raise ConfigError(f"{self.path} asks nothing about {family!r};", remedy=nearest(family, list(self.families)))
        text = " ".join(expand(rng.choice(self.families[family]), rng).split())
        if self.loose and rng.random() < self.loose:
            text = self._loose(text, rng)
        for name, value in (slots or {}).items():
            text = text.replace(f"<{name}>", value)
        return text[:1].upper() + text[1:]

    def _loose(self, text: str, rng: random.Random) -> str:
        """A question with something around it or with worn words, or both."""
        kind = rng.choice(("around", "worn", "both"))
        if kind != "around":
            text = worn(text, rng)
        if kind != "worn" and self.around:
            around = " ".join(expand(rng.choice(self.around), rng).split())
            goes_on = around.partition("<q>")[0].endswith((", ", "- ")) and not text.startswith("I ")
            inner = (text[:1].lower() if goes_on else text[:1].upper()) + text[1:]
            text = around.replace("<q>", inner)
        return text


def worn(text: str, rng: random.Random) -> str:
    """A text of which some words are left out, misspelt or put in words that nobody knows; gaps `<x>` stay."""
    told = []
    for word in text.split():
        if "<" in word or rng.random() >= _WORN:
            told.append(word)
            continue
        letters = word.rstrip(".,:;?!")
        ending, at = word[len(letters) :], rng.randrange(max(1, len(letters) - 1))
        unknown = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))
        misspelt = letters[:at] + letters[at : at + 2][::-1] + letters[at + 2 :]
        told.append(rng.choice((unknown, misspelt, "")) + ending)
    return " ".join(word for word in told if word)


def expand(line: str, rng: random.Random) -> str:
    """One reading of a line: each pair of braces becomes one of its parts, inner ones with it."""
    start = line.find("{")
    if start < 0:
        return line
    depth, parts, begin = 0, list[str](), start + 1
    for i in range(start, len(line)):
        depth += (line[i] == "{") - (line[i] == "}")
        if (line[i] == "|" and depth == 1) or depth == 0:
            parts.append(line[begin:i])
            begin = i + 1
        if depth == 0:
            break
    return line[:start] + expand(rng.choice(parts), rng) + expand(line[begin:], rng)
