"""Filters as a person types them: `label=dog`, `start_s>=3`, or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from unifusion.errors import ConfigError
from unifusion.retrieval.backends.backend import Where

__all__ = ["where_of"]

_SIGNS = {"=": "$eq", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_COMPARED = re.compile(r"([^=!<>]+?)\s*(!=|>=|<=|=|>|<)\s*(.*)", re.DOTALL)


def where_of(texts: Sequence[str]) -> Where | None:
    """One filter from several, which must all hold; None from none. A value is a number, true or false where it reads as one, else a text
    (also in quotation marks).

    Raises:
        ConfigError: a text is neither a comparison nor a JSON object.
    """
    parts = [_one(text) for text in texts]
    return None if not parts else parts[0] if len(parts) == 1 else {"$and": parts}


def _one(text: str) -> dict[str, Any]:
    """One filter."""
    if text.lstrip().startswith("{"):
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"the filter {text!r} is no JSON ({error});", remedy='write {"label": "dog"} or label=dog.') from error
        return dict(raw)
    match = _COMPARED.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"the filter {text!r} compares nothing;", remedy="write label=dog, start_s>=3 or JSON.")
    field, sign, value = match.groups()
    return {field: {_SIGNS[sign]: _value(value)}} if sign != "=" else {field: _value(value)}


def _value(text: str) -> str | int | float | bool:
    """A number, a truth value, or the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | bool) else text
