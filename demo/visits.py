"""Who is on the page: one visit per browser tab, held on the server, bounded in number and in time."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from unifusion import Media
from unifusion.errors import ConfigError

if TYPE_CHECKING:
    from unifusion.conversation import MediaKind
    from unifusion.engine import Session

__all__ = ["Choice", "Turn", "Visit", "Visits"]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The clip and the span that a person chose."""

    kind: str
    path: str
    start_s: float | None = None
    end_s: float | None = None

    @classmethod
    def of(cls, kind: str, paths: dict[str, str | None], start: str, end: str) -> Choice:
        """Check what the page sent; start and end are seconds as typed, empty where not given.

        Raises:
            ConfigError: there is no clip, or the span is none.
        """
        path = paths.get(kind)
        if not path:
            other = next((k for k, p in paths.items() if p), "")
            remedy = f"open the tab with your {other}, or upload one here." if other else "upload or record one, or take an example."
            raise ConfigError(f"There is no {kind} yet;", remedy=remedy)
        start_s, end_s = seconds("start", start), seconds("end", end)
        if end_s is not None and end_s <= (start_s or 0.0):
            raise ConfigError(f"The span from {start_s or 0:g} to {end_s:g} s is empty;", remedy="give an end after the start.")
        still = kind == "image"
        return cls(kind=kind, path=path, start_s=None if still else start_s, end_s=None if still else end_s)

    @property
    def media(self) -> Media:
        """What the engine opens."""
        return Media(kind=cast("MediaKind", self.kind), source=self.path, start_s=self.start_s, end_s=self.end_s)

    @property
    def name(self) -> str:
        """The file's name, without where it lies on the server."""
        return Path(self.path).name


def seconds(name: str, typed: str) -> float | None:
    """Read `1.5`, `1,5` or `1:05`; None for nothing.

    Raises:
        ConfigError: it is no time within a clip.
    """
    text = typed.strip().removesuffix("s").strip().replace(",", ".")
    if not text:
        return None
    if not re.fullmatch(r"([0-9]{1,4}:)?[0-9]{1,6}(\.[0-9]{0,3})?", text):
        raise ConfigError(
            f"The {name} {typed.strip()[:40]!r} is no time;", remedy="write seconds from the clip's beginning, for example 2.5 or 1:05."
        )
    minutes, _, rest = text.rpartition(":")
    return 60.0 * float(minutes or 0) + float(rest)


@dataclass(kw_only=True)
class Turn:
    """One question and its answer as the page shows them. `report` is safe HTML; the rest is text."""

    question: str
    answer: str = ""
    report: str = ""
    clip: str = ""
    """Set where a clip is shown for the first time: its name."""


@dataclass(kw_only=True)
class Visit:
    """The talk of one tab. `busy` is held while a question is being answered, `cancel` ends it at the next token."""

    session: Session | None = None
    choice: Choice | None = None
    turns: list[Turn] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)
    busy: threading.Lock = field(default_factory=threading.Lock)
    hits: object | None = None
    """What was found last in an index: a `finding.Hits`."""
    used_s: float = 0.0
    epoch: int = 0
    """Grows with each new talk, so that an answer that was under way does not come back into the next one."""

    def keep(self, turn: Turn, session: Session, choice: Choice, epoch: int) -> None:
        """Write an answered question down, unless a new talk was begun meanwhile."""
        if epoch == self.epoch:
            self.session, self.choice = session, choice
            self.turns.append(turn)

    def forget(self) -> None:
        """Begin a new talk; an answer under way is ended."""
        self.cancel.set()
        self.epoch += 1
        self.session, self.choice, self.turns = None, None, []


class Visits:
    """Visits by key, least recently used first.

    Args:
        capacity: how many are held; the one unused longest goes first, those being answered last.
        ttl_s: seconds after which an unused one is put away.
        clock: seconds that only grow.
    """

    def __init__(self, *, capacity: int = 32, ttl_s: float = 1800.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity = capacity
        self.ttl_s = ttl_s
        self._clock = clock
        self._held: OrderedDict[str, Visit] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> Visit:
        """Return the visit of a tab, a new one where there is none (any more).

        Raises:
            ConfigError: the key is empty; everybody without one would share a talk.
        """
        if not key:
            raise ConfigError("The page sent no session;", remedy="reload it.")
        with self._lock:
            now = self._clock()
            for old in [k for k, v in self._held.items() if now - v.used_s > self.ttl_s and not v.busy.locked()]:
                del self._held[old]
            visit = self._held.setdefault(key, Visit())
            visit.used_s = now
            self._held.move_to_end(key)
            while len(self._held) > self.capacity:
                others = [k for k in self._held if k != key]
                del self._held[next((k for k in others if not self._held[k].busy.locked()), others[0])]
            return visit

    def drop(self, key: str) -> None:
        """Forget a visit and end what it is doing."""
        with self._lock:
            visit = self._held.pop(key, None)
        if visit is not None:
            visit.cancel.set()
