"""What local back ends write: arrays as .npy, metadata as JSON lines, and files.json with the size and sha256 of each file.

There is no FAISS file and no pickle. What FAISS needs to stand up again (codes, centroids, neighbours) is arrays as well, so its
deserialiser, whose hardening is not finished (faiss issue 5400), never sees a file. Such arrays are derived: if one of them does not check
out, the index is built from the vectors again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from unifusion.errors import CheckpointError

__all__ = ["read_array", "read_files", "read_rows", "whole", "write_array", "write_files", "write_rows"]

REMEDY = "index the folder again."
_FORMAT = 1
_MOST_BYTES = 1 << 20


def write_array(path: Path, array: np.ndarray) -> None:
    """Write one array."""
    np.save(path, np.ascontiguousarray(array), allow_pickle=False)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write metadata, a row a line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def write_files(folder: Path, told: Mapping[str, Any]) -> None:
    """Write files.json: what is told, and the size and sha256 of every file that is there."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in sorted(folder.iterdir())}
    text = json.dumps({"format": _FORMAT, **told, "files": files}, indent=1)
    (folder / "files.json").write_text(text + "\n", encoding="utf-8")


def read_files(folder: Path, width: int) -> dict[str, Any]:
    """Read files.json.

    Raises:
        CheckpointError: it is missing, damaged, of another format or width.
    """
    path = folder / "files.json"
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_MOST_BYTES))
        found = (told["format"], told["width"], told["count"])
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in told["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error};", remedy=REMEDY) from error
    if found[:2] != (_FORMAT, width) or not isinstance(found[2], int) or found[2] < 0:
        raise CheckpointError(
            f"{path} is of format {found[0]!r}, width {found[1]!r} and {found[2]!r} vectors, wanted are {_FORMAT} and {width};",
            remedy=REMEDY,
        )
    return {**told, "files": files}


def whole(path: Path, files: Mapping[str, tuple[int, str]]) -> None:
    """Check that a file is what was written.

    Raises:
        CheckpointError: it is missing, of another size, or its sha256 is another.
    """
    try:
        size = path.stat().st_size
        if path.name not in files or size != files[path.name][0]:
            raise CheckpointError(f"{path} has {size} bytes, its files.json says otherwise;", remedy=REMEDY)
        if _digest(path) != files[path.name][1]:
            raise CheckpointError(f"{path} is damaged: its sha256 is not the one in files.json;", remedy=REMEDY)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error};", remedy=REMEDY) from error


def read_array(path: Path, kind: Any, shape: tuple[int | None, ...], *, mapped: bool = False) -> np.ndarray:
    """Read one array of a known type and shape; None stands for any length.

    Args:
        path: of a .npy file.
        kind: its type.
        shape: its shape.
        mapped: leave it in the file; nobody may shorten the file then while it is in use.

    Raises:
        CheckpointError: the file is no such array. An array of objects, which would be a pickle, is none.
    """
    try:
        # Mapping compares the claimed shape with the size of the file before anything is allocated.
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
            found, fortran, dtype = reader(file)
            start = file.tell()
        fits = len(found) == len(shape) and all(w is None or f == w for f, w in zip(found, shape, strict=True))
        if dtype != np.dtype(kind) or dtype.hasobject or not fits or (fortran and len(found) > 1):
            raise CheckpointError(f"{path} holds {dtype} {found}, wanted is {np.dtype(kind)} {shape};", remedy=REMEDY)
        if 0 in found:
            return np.zeros(found, kind)
        array = np.memmap(path, dtype, "r", start, found)
        return np.asarray(array) if mapped else np.array(array)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, SyntaxError, RecursionError, TokenError) as error:
        raise CheckpointError(f"{path} is no array: {error};", remedy=REMEDY) from error


def read_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """Read metadata.

    Raises:
        CheckpointError: a line that is no object, or another number of them.
    """
    try:
        with path.open(encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error};", remedy=REMEDY) from error
    if len(rows) != count or not all(isinstance(row, dict) for row in rows):
        raise CheckpointError(f"{path} holds {len(rows)} rows of metadata, wanted are {count} objects;", remedy=REMEDY)
    return rows


def _digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
