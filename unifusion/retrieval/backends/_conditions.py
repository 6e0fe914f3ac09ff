"""A filter of the contract as a tree of conditions, from which a store's own filter is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unifusion.errors import ConfigError, nearest
from unifusion.retrieval.backends.backend import Where

__all__ = ["Condition", "Group", "Scalar", "Tree", "is_scalar", "kinds", "read_where"]

Scalar = str | int | float | bool
_LARGEST = 2**53
"""Whole numbers up to it are exact as floats, as which stores keep or compare them."""
OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")
_ORDERED = ("$gt", "$gte", "$lt", "$lte")
_LISTS = ("$in", "$nin")


@dataclass(frozen=True)
class Condition:
    """One field against one value, or a tuple of them for $in and $nin."""

    field: str
    operator: str
    value: Any


@dataclass(frozen=True)
class Group:
    """Parts that must all hold, or of which one must. Without parts: always, or never."""

    every: bool
    parts: tuple[Tree, ...]


Tree = Condition | Group


def read_where(where: Where | None) -> Tree:
    """Read a filter; several fields, or several operators of a field, must all hold.

    Raises:
        ConfigError: an unknown operator, an operator that does not fit its value, or something else than a mapping.
    """
    if where is None:
        return Group(True, ())
    if not isinstance(where, Mapping):
        raise ConfigError(f"a filter is a mapping, this is {where!r};", remedy='write {"label": "dog"} or {"start_s": {"$gte": 3}}.')
    return _group(True, [part for field, wanted in where.items() for part in _parts(field, wanted)])


def kinds(values: Sequence[Scalar]) -> tuple[list[str], list[bool], list[float]]:
    """Values apart: texts, truths, numbers; stores compare them within their kind."""
    truths = [v for v in values if isinstance(v, bool)]
    numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return [v for v in values if isinstance(v, str)], truths, numbers


def _group(every: bool, parts: Sequence[Tree]) -> Tree:
    """A group, or its only part."""
    return parts[0] if len(parts) == 1 else Group(every, tuple(parts))


def _parts(field: Any, wanted: Any) -> list[Tree]:
    """What one entry of a mapping asks for."""
    if field in ("$and", "$or"):
        if not isinstance(wanted, Sequence) or isinstance(wanted, str) or not wanted:
            raise ConfigError(f"{field} wants a list of filters, it has {wanted!r};", remedy=f'write {{"{field}": [{{..}}, {{..}}]}}.')
        return [_group(field == "$and", [read_where(part) for part in wanted])]
    if not isinstance(field, str) or not field or field.startswith("$"):
        raise ConfigError(f"a filter names the field {field!r};", remedy=nearest(str(field), ["$and", "$or"]))
    if not isinstance(wanted, Mapping):
        return [_condition(field, "$eq", wanted)]
    if not wanted:
        raise ConfigError(f"the filter on {field!r} is empty;", remedy="give it a value, or leave the field out.")
    return [_condition(field, operator, value) for operator, value in wanted.items()]


def _condition(field: str, operator: Any, value: Any) -> Condition:
    """One checked condition."""
    if operator not in OPERATORS:
        raise ConfigError(f"{field!r} is asked for by {operator!r};", remedy=nearest(str(operator), list(OPERATORS)))
    if operator in _LISTS:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigError(f"{operator} on {field!r} wants a list, it has {value!r};", remedy=f'write {{"{operator}": [..]}}.')
        return Condition(field, operator, tuple(_scalar(field, v) for v in value))
    _scalar(field, value)
    if operator in _ORDERED and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ConfigError(f"{operator} on {field!r} wants a number, it has {value!r};", remedy="compare texts by $eq or $in.")
    return Condition(field, operator, value)


def is_scalar(value: Any) -> bool:
    """Whether metadata can have this value."""
    return isinstance(value, str | bool) or (isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _LARGEST)


def _scalar(field: str, value: Any) -> Scalar:
    """A value that metadata can have."""
    if not is_scalar(value):
        raise ConfigError(f"{field!r} is compared with {value!r};", remedy="compare with a text, a number up to 2^53 or a truth value.")
    scalar: Scalar = value
    return scalar
