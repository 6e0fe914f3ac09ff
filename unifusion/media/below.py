"""Which files below a folder are clips."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from unifusion.errors import DatasetError, MediaError
from unifusion.limits import Limits
from unifusion.media.source import open_source

__all__ = ["files_below", "is_media"]

_SUFFIXES = frozenset(
    ".mp4 .m4v .mov .3gp .mkv .webm .avi .ts .mts .m2ts .wav .mp3 .m4a .flac .ogg .oga .opus .aac "
    ".png .jpg .jpeg .gif .webp .bmp .avif".split()
)


def files_below(folder: Path) -> Iterator[Path]:
    """Files below a folder in a fixed order; hidden ones are none, and links to folders are not followed.

    Raises:
        DatasetError: a folder that cannot be listed: its clips must not look as if they were gone.
    """

    def fail(error: OSError) -> None:
        raise DatasetError(f"{error.filename}: {error.strerror};", remedy="give the right to list it, or name other folders.") from error

    for root, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        yield from (Path(root) / name for name in sorted(files) if name[0] != ".")


def is_media(path: Path) -> bool:
    """Whether a file is a clip by its first bytes, or called like one."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with open_source(path, Limits()):
            return True
    except MediaError:
        return False
