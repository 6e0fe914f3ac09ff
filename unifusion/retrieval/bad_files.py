"""Files that cannot be read, listed in `INDEX/quarantine.jsonl` for as long as they cannot."""

from __future__ import annotations

import json
from pathlib import Path

from unifusion.atomic import write_text
from unifusion.errors import MediaError
from unifusion.quarantine import Quarantine

__all__ = ["BadFiles", "window_name"]

_AT = " @ "


def window_name(path: str, start_s: float, end_s: float) -> str:
    """What a window that cannot be read is called."""
    return f"{path}{_AT}{start_s:.2f}-{end_s:.2f} s"


class BadFiles:
    """The list of what cannot be read.

    Args:
        path: of the list.
        skip: go on without what is bad; otherwise the first ends the run.
    """

    def __init__(self, path: Path, *, skip: bool) -> None:
        self.path = path
        self.mended: set[str] = set()
        """Paths of files that can be read by now, or are gone."""
        self._noted: set[str] = set()
        self._list = Quarantine(path, skip=skip, most=1.0, what="clips", kind=MediaError)

    def note(self, name: str, error: MediaError) -> None:
        """Write down a file, or one of its windows.

        Raises:
            MediaError: none may be skipped.
        """
        self._noted.add(name)
        self._list.add(name, error)

    def heal(self) -> None:
        """Take what is mended out of the list."""
        if not self.mended or not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                name = str(json.loads(line)["name"])
            except (ValueError, KeyError, TypeError):
                continue  # half of a line, of a run that was killed
            if name in self._noted or name.partition(_AT)[0] not in self.mended:
                kept.append(line)
        write_text(self.path, "".join(kept))
