"""Which back end searches a library: the one that a person named, or one by the number of its windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from unifusion import catalog
from unifusion.errors import ConfigError, nearest
from unifusion.retrieval.choose import choose
from unifusion.retrieval.layout import BackendChoice

__all__ = ["chosen"]


def chosen(name: str, config: Mapping[str, Any], count: int, width: int) -> BackendChoice:
    """The choice of a back end, checked.

    Args:
        name: of the catalog, or `package.module:Class`; "" chooses by `count`.
        config: its choices.
        count: windows.
        width: D.

    Raises:
        ConfigError: there is no such back end, or it has no such choice.
    """
    if not name:
        if config:
            raise ConfigError("choices of a back end without its name;", remedy=f"name one of {', '.join(catalog.names('backends'))}.")
        found = choose(count, width)
        return BackendChoice(name=found.name, config=dict(found.config), reason=found.reason)
    known = sorted(f.name for f in fields(catalog.load("backends", name).Config))
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ConfigError(f"the back end {name} has no choice {unknown[0]!r};", remedy=nearest(unknown[0], known))
    return BackendChoice(name=name, config=dict(config), reason="it was named", fixed=True)
