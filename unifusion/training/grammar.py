"""Questions in many words from few lines: `{What|Which} {emotion|feeling} is it?`, drawn from a YAML file of families."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import yaml

from unifusion.errors import ConfigError, nearest

__all__ = ["Grammar"]


class Grammar:
    """Families of questions with alternatives in braces.

    Args:
        path: YAML, family -> lines.

    Raises:
        ConfigError: it is no such file, or a line's braces do not close.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            raw = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"cannot read {path}: {str(error).splitlines()[0]};", remedy="give a YAML file of questions.") from error
        if not isinstance(raw, dict) or not all(isinstance(v, list) and v and all(isinstance(x, str) for x in v) for v in raw.values()):
            raise ConfigError(f"{path} holds no families of questions;", remedy='write `sound: ["What do you hear?"]`.')
        self.families: dict[str, list[str]] = raw
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
        for name, value in (slots or {}).items():
            text = text.replace(f"<{name}>", value)
        return text[:1].upper() + text[1:]


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
