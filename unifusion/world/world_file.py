"""Reads `world.yaml`, `phrasings.yaml` and `talks.yaml`: every range, list, pool and wording of clip world is data."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from unifusion.errors import ConfigError

__all__ = ["phrasings", "ranges", "talk_topics"]


@lru_cache(maxsize=1)
def ranges() -> dict[str, Any]:
    """Return `world.yaml`. The dict is shared: callers read it and never change it."""
    return _read("world.yaml")


@lru_cache(maxsize=1)
def phrasings() -> dict[str, Any]:
    """Return `phrasings.yaml`: family -> `train` and `held_out` wordings of its question, and the words of answers."""
    return _read("phrasings.yaml")


@lru_cache(maxsize=1)
def talk_topics() -> dict[str, Any]:
    """Return `talks.yaml`: topics with their lines, and what profiles are drawn from."""
    return _read("talks.yaml")


def _read(name: str) -> dict[str, Any]:
    path = Path(__file__).with_name(name)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"clip world cannot read {path.name}: {error};", remedy="reinstall unifusion-x.") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path.name} holds {type(raw).__name__}, a mapping was wanted;", remedy="reinstall unifusion-x.")
    return raw
