"""Files and folders that are there whole or not at all: written beside their place, synced to disk, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["aside", "atomic_folder", "remove_folder", "swap", "sweep", "sync", "write_text"]


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def aside(target: Path) -> Path:
    """The name under which an old folder waits while the new one takes its place."""
    return target.with_name(f".{target.name}-old.tmp")


def swap(work: Path, target: Path) -> None:
    """Put a folder in the place of another.

    Between the two renames the old one is `aside` for an instant, from where `sweep` puts it back.
    """
    old = aside(target)
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    os.replace(work, target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder beside `target`; when the block ends well it is synced to disk and takes `target`'s place.

    A crash leaves either the old folder or the new one, and perhaps a `.tmp` folder that `sweep` removes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".tmp", dir=target.parent))
    try:
        yield work
        mask = os.umask(0)
        os.umask(mask)
        work.chmod(0o777 & ~mask)  # mkdtemp makes it private
        for path in [*work.rglob("*"), work]:
            if path.is_file():
                path.chmod(0o666 & ~mask)  # safetensors writes through a private temporary file
            sync(path)
        swap(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder that others may be reading: at once for who opens it now; what a kill leaves of it, `sweep` removes."""
    litter = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(litter, ignore_errors=True)
    os.replace(path, litter)
    shutil.rmtree(litter, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a file of UTF-8 in one go; of several who write it at once, on several machines, too, the last one has it whole."""
    work = path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp")
    try:
        work.write_text(text, encoding="utf-8")
        sync(work)
        os.replace(work, path)
    finally:
        work.unlink(missing_ok=True)


def sweep(parent: Path) -> list[Path]:
    """Remove what interrupted writers left in `parent`, and return it; an old folder whose replacement never came is put back."""
    removed = []
    for litter in parent.glob(".*.tmp"):
        target = parent / litter.name[1:].removesuffix("-old.tmp")
        if litter.name.endswith("-old.tmp") and not target.exists():
            os.replace(litter, target)
            continue
        if litter.is_dir():
            shutil.rmtree(litter, ignore_errors=True)
        else:
            litter.unlink(missing_ok=True)
        removed.append(litter)
    return removed
