"""One segment of a library: a folder that is there whole or not at all, written once and then only read.

| file | what |
|---|---|
| `segment.json` | library, numbers of the segments it stands for, what comes after it, size and sha256 of the other files |
| `clips.jsonl` | a row each clip that is new or changed (`Entry`), and `{"clip": 3, "gone": true}` for those removed |
| `windows.jsonl` | a row each window (`Window`) |
| `windows.npy` | (N, 2) int64: id of each window and number of its clip, in the order of the rows, ids ascending |
| `<space>.npy`, `<space>.ids.npy` | (M, D) float32 or float16 of length one, and (M,) int64 the windows they are of |

Segments are numbered without a hole; one that stands for several (made by `compact`) hides those.
"""

from __future__ import annotations

import hashlib
import json
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.atomic import atomic_folder
from unifusion.errors import CheckpointError
from unifusion.retrieval.entry import Entry, Window

__all__ = ["Content", "Segment", "numbers_of", "sha256_of", "typed", "write_segment"]

FORMAT = "unifusion-segment"
VERSION = 1
_NAME = re.compile(r"(\d{8})-(\d{8})")
_SPACE = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED = {"windows", "clips", "segment"}
_FILE = re.compile(r"[a-z0-9_]+(\.ids)?\.(npy|jsonl)")
_DAMAGE = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, SyntaxError, IndexError, tokenize.TokenError, RecursionError,
    OverflowError, MemoryError,
)  # fmt: skip
"""What parsing JSON and headers of arrays raises on bytes that somebody else chose."""


@dataclass(kw_only=True)
class Content:
    """What a segment is written from.

    Attributes:
        entries: clips that are new or changed.
        gone: numbers of clips removed.
        windows: by ascending id.
        vectors: space -> ids ascending (M,), vectors (M, D).
    """

    entries: list[Entry] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    windows: Sequence[Window] = field(default_factory=list)
    vectors: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def numbers_of(folder: Path) -> tuple[int, int] | None:
    """First and last number of the segments that a folder stands for, by its name; None where it is no segment."""
    match = _NAME.fullmatch(folder.name)
    return (int(match[1]), int(match[2])) if match else None


def sha256_of(path: Path) -> dict[str, Any]:
    """Size and hash of a file, as manifests have it."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def write_segment(
    folder: Path, content: Content, *, library: str, numbers: tuple[int, int], next_window: int, next_clip: int, precision: str
) -> Path:  # fmt: skip
    """Write a segment into `folder`; after a kill it is there whole or not at all."""
    target = folder / f"{numbers[0]:08}-{numbers[1]:08}"
    with atomic_folder(target) as work:
        rows = [entry.to_dict() for entry in content.entries] + [{"clip": clip, "gone": True} for clip in content.gone]
        _write_rows(work / "clips.jsonl", rows)
        _write_rows(work / "windows.jsonl", [window.to_dict() for window in content.windows])
        np.save(work / "windows.npy", np.array([(w.id, w.clip) for w in content.windows], np.int64).reshape(-1, 2))
        for space, (ids_M, vectors_MD) in content.vectors.items():
            if not _SPACE.fullmatch(space) or space in _RESERVED:
                raise CheckpointError(f"the embedder has a space called {space!r};", remedy="a file is called so: a word is wanted.")
            np.save(work / f"{space}.npy", vectors_MD.astype(precision))
            np.save(work / f"{space}.ids.npy", ids_M.astype(np.int64))
        told = {
            "format": FORMAT, "version": VERSION, "library": library, "first": numbers[0], "last": numbers[1],
            "next_window": next_window, "next_clip": next_clip, "spaces": sorted(content.vectors),
            "files": {p.name: sha256_of(p) for p in sorted(work.iterdir())},
        }  # fmt: skip
        (work / "segment.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return target


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON lines; names of files that are no UTF-8 pass as escapes."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")


@contextmanager
def typed(folder: Path, remedy: str) -> Iterator[None]:
    """Whatever reading damaged files raises, as one error.

    Raises:
        CheckpointError: instead.
    """
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, FileNotFoundError) and not folder.exists():
            raise  # it was merged into another while it was read
        raise CheckpointError(f"{folder} is damaged ({type(error).__name__}: {str(error)[:300]});", remedy=remedy) from error


class Segment:
    """A segment that is read. Rows are checked against their hashes now, vectors when they are first used; arrays are mapped, so that
    they stay what they are when the folder is removed.

    Args:
        folder: of the segment.
        library: whose it must be.
        width: D.
        remedy: told when it is damaged.

    Raises:
        CheckpointError: a file is missing, cut short or changed, or the segment is of another library.
        FileNotFoundError: it has been merged into another.
    """

    def __init__(self, folder: Path, *, library: str, width: int, remedy: str) -> None:
        self.folder, self.remedy, self._width = folder, remedy, width
        with typed(folder, remedy):
            raw = json.loads((folder / "segment.json").read_text(encoding="utf-8"))
            if (raw["format"], raw["version"]) != (FORMAT, VERSION) or raw["library"] != library:
                found = f"{raw['format']!r} {raw['version']!r} of library {raw['library']!r}"
                raise ValueError(f"{found}, wanted {FORMAT!r} {VERSION} of {library!r}")
            self.first, self.last = int(raw["first"]), int(raw["last"])
            if (self.first, self.last) != numbers_of(folder):
                raise ValueError(f"it calls itself {self.first}-{self.last}")
            self.next_window, self.next_clip = int(raw["next_window"]), int(raw["next_clip"])
            self._files: dict[str, dict[str, Any]] = raw["files"]
            self.rows = self._read("windows.jsonl").splitlines()
            self.entries, self.gone = _entries(self._read("clips.jsonl"))
            self._check("windows.npy")
            pairs_N2 = self._array("windows.npy", np.int64, 2)
            self.ids_N, self.clips_N = np.array(pairs_N2[:, 0]), np.array(pairs_N2[:, 1])
            if len(self.rows) != len(self.ids_N) or (np.diff(self.ids_N) <= 0).any() or pairs_N2.min(initial=0) < 0:
                raise ValueError(f"{len(self.rows)} rows of windows, {len(self.ids_N)} ids")
            self._spaces = {space: self._open_space(space) for space in raw["spaces"]}
        self._checked: set[str] = set()

    @property
    def spaces(self) -> list[str]:
        """Spaces of which it holds vectors."""
        return list(self._spaces)

    def window(self, row: int) -> Window:
        """One of its windows.

        Raises:
            CheckpointError: the row is damaged.
        """
        with typed(self.folder, self.remedy):
            window = Window.of(json.loads(self.rows[row]))
            if (window.id, window.clip) != (self.ids_N[row], self.clips_N[row]):
                raise ValueError(f"window {window.id} of clip {window.clip} stands where {self.ids_N[row]} of {self.clips_N[row]} is told")
            return window

    def vectors(self, space: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids ascending (M,) and vectors (M, D) of a space, as they lie on disk; none where it lacks the space.

        Raises:
            CheckpointError: they are not what was written.
        """
        if space not in self._spaces:
            return np.zeros(0, np.int64), np.zeros((0, self._width), np.float32)
        with typed(self.folder, self.remedy):
            if space not in self._checked:
                try:
                    self._check(f"{space}.ids.npy")
                    self._check(f"{space}.npy")
                except FileNotFoundError:
                    if self.folder.exists():
                        raise
                    # Merged into another since it was opened; what is mapped stays, and was of the size that was told.
                if not np.isfinite(self._spaces[space][1]).all():
                    raise ValueError(f"{space}.npy holds what is no number")
                self._checked.add(space)
            return self._spaces[space]

    def _open_space(self, space: str) -> tuple[np.ndarray, np.ndarray]:
        """Map ids (M,) and vectors (M, D)."""
        if not isinstance(space, str) or not _SPACE.fullmatch(space):
            raise ValueError(f"a space called {space!r}")
        ids_M, vectors_MD = self._array(f"{space}.ids.npy", np.int64, 1), self._array(f"{space}.npy", np.floating, 2)
        if len(ids_M) != len(vectors_MD) or vectors_MD.shape[1] != self._width or not np.isin(ids_M, self.ids_N, assume_unique=True).all():
            raise ValueError(f"{space}: ids {ids_M.shape}, vectors {vectors_MD.shape}, wanted a width of {self._width} and ids of windows")
        if (np.diff(ids_M) <= 0).any():
            raise ValueError(f"{space}: ids that do not ascend")
        return ids_M, vectors_MD

    def _array(self, name: str, kind: Any, ndim: int) -> np.ndarray:
        """Map an array of numbers; one of objects is never read."""
        if (self.folder / name).stat().st_size != self._files[name]["bytes"]:
            raise ValueError(f"{name} has {(self.folder / name).stat().st_size} bytes, {self._files[name]['bytes']} were written")
        array = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, kind) or array.ndim != ndim:
            raise ValueError(f"{name} holds {getattr(array, 'dtype', 'an archive')}")
        return array

    def _check(self, name: str) -> None:
        """Hold a file against its hash."""
        if not _FILE.fullmatch(name) or sha256_of(self.folder / name) != self._files[name]:
            raise ValueError(f"{name} is not what was written")

    def _read(self, name: str) -> bytes:
        """A small file, held against its hash."""
        data = (self.folder / name).read_bytes()
        if {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} != self._files[name]:
            raise ValueError(f"{name} is not what was written")
        return data


def _entries(data: bytes) -> tuple[list[Entry], list[int]]:
    """Clips that are new or changed, and numbers of those removed."""
    entries, gone = [], []
    for line in data.splitlines():
        raw = json.loads(line)
        if raw.get("gone"):
            gone.append(int(raw["clip"]))
        else:
            entries.append(Entry.of(raw))
    return entries, gone
