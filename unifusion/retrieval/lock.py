"""One writer at a time: a lock on a file that names who holds it. It ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unifusion.errors import ConfigError

__all__ = ["writing"]


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of a library's folder, which is made.

    Raises:
        ConfigError: another process (or another object of this one) writes, with its number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ConfigError(f"{folder} is being written by {_told(file.read())};", remedy="wait for it, or end it.") from error
        file.seek(0)
        file.truncate()
        began = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": began}))
        file.flush()
        yield


def _told(text: str) -> str:
    """Who holds the lock."""
    try:
        by = json.loads(text)
        return f"process {by['pid']} on {by['host']} since {by['since']}"
    except (ValueError, KeyError, TypeError):  # it has the lock and has not written yet
        return "another process"
