"""Jinja as the prompt manager uses it: an immutable sandbox without globals, in which a missing field is an error.

Template files may come from strangers (CVE-2024-34359, CVE-2026-5760: code run from a model file's template), so nothing
of Python is in reach; what people write is passed as a value and never compiled.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from unifusion.errors import PromptError

__all__ = ["compile_source", "fields_of", "render"]


def _lettered(options: Sequence[str]) -> str:
    """Lines "A. first", "B. second"."""
    if len(options) > len(string.ascii_uppercase):
        raise ValueError(f"{len(options)} options, at most 26 have a letter")
    return "\n".join(f"{letter}. {text}" for letter, text in zip(string.ascii_uppercase, options, strict=False))


def _seconds(value: float) -> str:
    """Seconds with one decimal, as every template writes them."""
    return f"{value:.1f}"


def _environment() -> ImmutableSandboxedEnvironment:
    """The one environment: no globals, no loader, two filters of our own."""
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True)
    made.globals.clear()
    made.filters.update(lettered=_lettered, seconds=_seconds)
    return made


_ENVIRONMENT = _environment()


def fields_of(source: str) -> set[str]:
    """Return the names a template source reads.

    Raises:
        PromptError: the source is not valid Jinja.
    """
    try:
        return set(meta.find_undeclared_variables(_ENVIRONMENT.parse(source)))
    except TemplateError as error:
        raise PromptError(f"not a valid template: {error};", remedy="see https://jinja.palletsprojects.com/templates/") from error


def compile_source(source: str) -> Template:
    """Compile a source that `fields_of` accepted.

    Raises:
        PromptError: the source asks for a filter or test that does not exist.
    """
    try:
        return _ENVIRONMENT.from_string(source.strip())
    except TemplateError as error:
        raise PromptError(f"not a valid template: {error};", remedy="filters beyond Jinja's own are lettered, seconds.") from error


def render(template: Template, values: Mapping[str, Any]) -> str:
    """Fill in `values`.

    Raises:
        PromptError: a value is not what the template does with it (an attribute that is not there, a forbidden call ..).
    """
    try:
        return template.render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise PromptError(
            f"cannot fill in the template: {error};", remedy=f"it was given {', '.join(sorted(values)) or 'no fields'}."
        ) from error
