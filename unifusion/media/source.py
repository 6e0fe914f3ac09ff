"""Open what a person named: one regular local file, or bytes. Nothing else is ever opened."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.sniff import Kind, sniff

__all__ = ["Source", "describe", "open_source"]

_PROTOCOL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+[:,]")


@dataclass(frozen=True)
class Source:
    """An open, sniffed file. `name` is what messages call it."""

    name: str
    handle: BinaryIO
    n_bytes: int
    kind: Kind


def describe(source: str | Path | bytes) -> str:
    """Return what messages call a source."""
    return f"<{len(source)} bytes>" if isinstance(source, bytes) else str(source)


@contextmanager
def open_source(source: str | Path | bytes, limits: Limits) -> Iterator[Source]:
    """Open a path or bytes, check size and kind of file, name the format.

    The handle that was checked is the one that is decoded, so nothing can be swapped in between.

    Raises:
        MediaError: no such file, a folder, a device, a pipe, a URL, empty, or of no known format.
        LimitError: larger than `limits.max_bytes`.
    """
    name = describe(source)
    handle = io.BytesIO(source) if isinstance(source, bytes) else _open_regular(source, name)
    with handle:
        n_bytes = handle.seek(0, os.SEEK_END)
        if n_bytes == 0:
            raise MediaError(f"{name}: empty, 0 bytes;", remedy="give a file that holds picture or sound.")
        if n_bytes > limits.max_bytes:
            raise LimitError(f"{name}: {n_bytes} bytes, at most {limits.max_bytes} are read;", remedy="cut it or raise limits.max_bytes.")
        yield Source(name, handle, n_bytes, sniff(handle, name))


def _open_regular(path: str | Path, name: str) -> BinaryIO:
    """Open a regular file; symbolic links are followed first, then nothing may be one."""
    try:
        resolved = Path(path).resolve(strict=True)
        # O_NONBLOCK: opening a pipe without a writer must not hang before we can see that it is a pipe.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(resolved, flags)
    except (OSError, ValueError, RuntimeError) as error:
        if _PROTOCOL.match(str(path)):
            raise MediaError(f"{name}: looks like a URL or a protocol;", remedy="only local files are read: download it first.") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{name}: cannot be opened ({reason});", remedy="give the path of a readable file.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediaError(f"{name}: not a regular file (a folder, device or pipe);", remedy="give the path of a clip.")
    return os.fdopen(descriptor, "rb")
