"""Answer parsers: one file each, the stem is the name a template gives. A parser never raises on any text."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from unifusion.errors import PromptError, nearest
from unifusion.prompts.parsed import Parser

__all__ = ["load_parser", "options_of", "parser_names"]


def parser_names() -> list[str]:
    """Sorted names of the parsers there are."""
    return sorted(p.stem for p in Path(__file__).resolve().parent.glob("*.py") if not p.stem.startswith("_"))


def load_parser(name: str) -> Parser:
    """Return the parser `name`.

    Raises:
        PromptError: there is none of that name.
    """
    if name not in parser_names():
        raise PromptError(f"no answer parser {name!r};", remedy=nearest(name, parser_names()))
    module = importlib.import_module(f"{__name__}.{name}")
    parser: Parser = getattr(module, module.__all__[0])
    return parser


def options_of(parser: Parser) -> dict[str, Any]:
    """Return the options a parser takes beside the text and the choices, with their defaults."""
    parameters = inspect.signature(parser).parameters
    return {name: p.default for name, p in parameters.items() if name not in ("text", "choices")}
