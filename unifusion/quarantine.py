"""What could not be read: the end of a run, or a line in a file and a limit of how much of it there may be."""

from __future__ import annotations

import fcntl
import json
import logging
from pathlib import Path
from typing import Any

from unifusion.errors import UniFusionError

__all__ = ["Quarantine"]

log = logging.getLogger(__name__)
_ENOUGH_TRIED = 20
"""Things tried before the share of bad ones means anything."""


class Quarantine:
    """Keeps account of what could not be read; each is written once to a file of JSON lines.

    Args:
        path: the file (`{"name": .., "reason": ..}`, a line each); processes that go side by side share it, and what is in it is known.
        skip: go on without what is bad; otherwise the first ends the run.
        most: largest share of bad ones among those tried.
        what: they are, in the plural.
        kind: of the error where there are too many.
    """

    def __init__(self, path: Path, *, skip: bool, most: float, what: str, kind: type[UniFusionError]) -> None:
        self.path, self.skip, self.most, self.what, self.kind = path, skip, most, what, kind
        self.tried, self.bad, self.count = 0, 0, 0
        self._known: set[str] = set()
        self._read = 0
        """Bytes of the file that were looked at."""

    def begin(self) -> None:
        """Count anew what is tried: a share of files that were looked at says nothing of those that are decoded."""
        self.tried = self.bad = 0

    def add(self, name: str, error: UniFusionError, **more: int) -> None:
        """Note one that is bad, with more to write in its line; `tried` is the caller's to count.

        Raises:
            UniFusionError: none may be skipped: the error itself.
        """
        if not self.skip:
            raise error
        self.count += 1
        self.bad += 1
        line = _json({**more, "name": name, "reason": str(error)})
        told = _json({"name": name, "reason": str(error)})  # a later round has it under another row
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(self._read)
            self._known.update(map(_told, file.read().splitlines()))
            known = told in self._known
            if not known:
                file.write(line.encode())
                self._known.add(told)
            self._read = file.seek(0, 2)
        if known:
            return
        log.warning("%s is left out: %s (all of them: %s)", name, error, self.path)

    def hold(self) -> None:
        """Refuse to go on when too many of what was tried so far are bad.

        Raises:
            UniFusionError: with counts and where they are listed.
        """
        if self.tried >= _ENOUGH_TRIED and self.bad > self.most * self.tried:
            raise self.kind(
                f"{self.bad} of {self.tried} {self.what} tried cannot be read, more than {self.most:.0%}; they are listed in {self.path};",
                remedy="mend the data, or raise --max-bad.",
            )


def _told(line: bytes) -> str:
    """Name and reason of a line of the file, as `add` compares them; the line itself where it is none."""
    try:
        found = json.loads(line)
        return _json({"name": found["name"], "reason": found["reason"]})
    except (ValueError, TypeError, KeyError):  # cut off by a kill
        return line.decode("utf-8", "replace")


def _json(value: dict[str, Any]) -> str:
    """A line of JSON; bytes of a file's name that are no UTF-8 are escapes in it."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode() + "\n"
