"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True)
class Finding:
    """What was looked at and what came out.

    `fail` means that the main job (a clip goes in, an answer comes out) does not work; `warn` that something optional does not.
    """

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""
