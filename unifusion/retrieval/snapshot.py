"""What a library holds at one moment: its segments read in order. It stays as it is while a writer goes on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.entry import Entry, Name, Window
from unifusion.retrieval.layout import Manifest
from unifusion.retrieval.segment import Segment, numbers_of

__all__ = ["Snapshot", "named_segments", "segment_folders"]

_ATTEMPTS = 8


def segment_folders(folder: Path) -> list[Path]:
    """The folders of the segments in order; those that another stands for are left out.

    Raises:
        CheckpointError: one is missing.
    """
    found: list[Path] = []
    last = 0
    for first, to, path in named_segments(folder):
        if first != last + 1:
            raise CheckpointError(f"{folder}: after segment {last} comes {path.name};", remedy=_mend(folder.parent))
        found.append(path)
        last = to
    return found


def named_segments(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """First and last number and folder of the segments in order, without those that another stands for; some may be missing."""
    named = [(numbers, p) for p in folder.iterdir() if (numbers := numbers_of(p)) is not None] if folder.is_dir() else []
    last = 0
    for (first, to), path in sorted(named, key=lambda one: (one[0][0], -one[0][1])):
        if last < to >= first:
            yield first, to, path
            last = to


def _mend(folder: Path) -> str:
    """What to do about segments that are damaged or missing."""
    return f"what was lost is encoded again by: unifusion index DIR.. -o {shlex.quote(str(folder))} --repair"


class Snapshot:
    """All segments of a library as they are now.

    Args:
        folder: of the library.
        manifest: its manifest.

    Raises:
        CheckpointError: a segment is damaged or missing.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.segments = self._read()
        self.entries: dict[int, Entry] = {}
        """Clips that are there, by number."""
        for segment in self.segments:
            for clip in segment.gone:
                self.entries.pop(clip, None)
            self.entries.update((entry.clip, entry) for entry in segment.entries)
        self.ids_N = np.concatenate([s.ids_N for s in self.segments]) if self.segments else np.zeros(0, np.int64)
        self.clips_N = np.concatenate([s.clips_N for s in self.segments]) if self.segments else np.zeros(0, np.int64)
        self.alive_N = np.isin(self.clips_N, np.fromiter(self.entries, np.int64, len(self.entries)))
        self._starts = np.cumsum([0] + [len(s.ids_N) for s in self.segments])
        if (np.diff(self.ids_N) <= 0).any():
            raise CheckpointError(f"{folder / 'segments'}: windows of two segments have one id;", remedy=_mend(folder))

    def _read(self) -> list[Segment]:
        """Open the segments; while a writer merges some, what was listed may be gone, and is listed again."""
        for _ in range(_ATTEMPTS):
            try:
                return [self._open(path) for path in segment_folders(self.folder / "segments")]
            except FileNotFoundError:
                continue
        raise CheckpointError(f"{self.folder / 'segments'} changes all the time;", remedy="try again when its writer has ended.")

    def _open(self, path: Path) -> Segment:
        """One segment."""
        return Segment(path, library=self.manifest.id, width=self.manifest.embedder.width, remedy=_mend(self.folder))

    def is_current(self) -> bool:
        """Whether the segments on disk are those that were read: one that is written is never written again."""
        return segment_folders(self.folder / "segments") == [segment.folder for segment in self.segments]

    @property
    def last(self) -> int:
        """Number of the last segment; 0 where there is none."""
        return self.segments[-1].last if self.segments else 0

    @property
    def next_window(self) -> int:
        """The id that the next window gets; ids are never used again."""
        return max((s.next_window for s in self.segments), default=0)

    @property
    def next_clip(self) -> int:
        """The number that the next clip gets."""
        return max((s.next_clip for s in self.segments), default=0)

    @property
    def spaces(self) -> list[str]:
        """Spaces of which there are vectors, `clip` first."""
        found = {space for segment in self.segments for space in segment.spaces}
        return sorted(found, key=lambda space: (space != "clip", space))

    def must_have(self, space: str) -> None:
        """Refuse a space of which there are no vectors; an empty library may have any.

        Raises:
            ConfigError: that is so.
        """
        if self.spaces and space not in self.spaces:
            raise ConfigError(f"the index has no space {space!r};", remedy=f"there are: {', '.join(self.spaces)}.")

    def by_name(self) -> dict[Name, Entry]:
        """Clips by what they are known by."""
        return {entry.name: entry for entry in self.entries.values()}

    def by_key(self) -> dict[str, Entry]:
        """Clips that are whole, by what their vectors depend on."""
        return {entry.key: entry for entry in self.entries.values() if entry.done and not entry.error}

    def ids_of(self, clips: Iterable[int]) -> np.ndarray:
        """Ids of the windows of some clips, ascending."""
        return self.ids_N[np.isin(self.clips_N, np.fromiter(clips, np.int64))]

    def holds(self, id: int) -> bool:
        """Whether there is a window of that id."""
        at = int(np.searchsorted(self.ids_N, id))
        return at < len(self.ids_N) and bool(self.ids_N[at] == id and self.alive_N[at])

    def window(self, id: int) -> Window:
        """A window by its id.

        Raises:
            KeyError: there is none.
            CheckpointError: its row is damaged.
        """
        at = int(np.searchsorted(self.ids_N, id))
        if at >= len(self.ids_N) or self.ids_N[at] != id:
            raise KeyError(id)
        number = int(np.searchsorted(self._starts, at, side="right")) - 1
        return self.segments[number].window(at - int(self._starts[number]))

    def windows(self, ids_M: np.ndarray) -> Iterator[Window]:
        """Windows by their ids."""
        return (self.window(int(id)) for id in ids_M)

    def vectors(self, space: str, ids_M: np.ndarray | None = None, *, after: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Ids ascending (M,) of windows that are there and have a vector in `space`, and the vectors (M, D), float32 of length one.

        Args:
            space: name of the space.
            ids_M: of these windows alone.
            after: of segments after this number alone.

        Raises:
            CheckpointError: vectors are damaged.
        """
        found_ids, found = [np.zeros(0, np.int64)], [np.zeros((0, self.manifest.embedder.width), np.float32)]
        for segment, start in zip(self.segments, self._starts, strict=False):
            if segment.last > after and (ids_M is None or np.isin(ids_M, segment.ids_N).any()):
                own_ids, own = segment.vectors(space)
                keep = self.alive_N[start : start + len(segment.ids_N)][np.searchsorted(segment.ids_N, own_ids)]
                if ids_M is not None:
                    keep &= np.isin(own_ids, ids_M)
                found_ids.append(own_ids[keep])
                found.append(np.asarray(own if keep.all() else own[keep], np.float32))
        vectors_MD = np.concatenate(found)
        with np.errstate(over="ignore"):
            length_M1 = np.linalg.norm(vectors_MD, axis=1, keepdims=True)
        if len(length_M1) and not (np.abs(length_M1 - 1.0) < 1e-2).all():
            raise CheckpointError(f"{self.folder}: vectors of {space} that are not of length one;", remedy=_mend(self.folder))
        if self.manifest.precision == "float16":  # which rounds lengths
            vectors_MD /= length_M1
        return np.concatenate(found_ids), vectors_MD
