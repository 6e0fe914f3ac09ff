"""Members of tar shards, read from their places: nothing is unpacked, and no name in a tar is ever used as a path."""

from __future__ import annotations

import tarfile
from pathlib import Path

from unifusion.errors import DatasetError

__all__ = ["bytes_at", "stems"]

_AGAIN = "copy the shard again; a compressed tar must be unpacked to .tar."


def stems(shard: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """Stem -> extension -> (offset, bytes) of one tar; links, devices and files with holes are passed over.

    Raises:
        DatasetError: it is no whole tar.
    """
    found: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, name = member.name.rpartition("/")
                stem, dot, end = name.partition(".")
                if member.isreg() and not member.issparse() and dot and stem:
                    found.setdefault(f"{folder}/{stem}" if folder else stem, {})[end.lower()] = (member.offset_data, member.size)
            end_at = tar.offset
        with shard.open("rb") as file:
            file.seek(end_at)
            if file.read(512).strip(b"\0"):  # tarfile ends without a word at a header it cannot read
                raise tarfile.ReadError(f"no member begins at byte {end_at}")
    except (OSError, tarfile.TarError, ValueError) as error:
        raise DatasetError(f"{shard}: {error};", remedy=_AGAIN) from error
    return found


def bytes_at(shard: Path, offset: int, size: int) -> bytes:
    """A member's bytes.

    Raises:
        DatasetError: the shard has become shorter, or cannot be read.
    """
    try:
        with shard.open("rb") as file:
            file.seek(offset)
            found = file.read(size)
    except OSError as error:
        raise DatasetError(f"{shard}: {error};", remedy=_AGAIN) from error
    if len(found) < size:
        raise DatasetError(f"{shard} ends before its member of bytes {offset} to {offset + size};", remedy=_AGAIN)
    return found
