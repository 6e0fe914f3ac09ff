"""What a run adds to a library, written as segments now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from unifusion.retrieval.entry import Entry, Name, Window
from unifusion.retrieval.segment import Content, write_segment
from unifusion.retrieval.snapshot import Snapshot

__all__ = ["Writer"]


class Writer:
    """Gathers clips and windows on top of a snapshot and writes them. The writer's lock is held.

    What belongs together (a clip's new windows and the end of its old ones) is in one segment, so that a kill parts nothing.

    Args:
        snapshot: what is there.
        flush_windows: windows after which a segment is written.
        flush_s: seconds after which it is, though there are fewer.
    """

    def __init__(self, snapshot: Snapshot, *, flush_windows: int = 512, flush_s: float = 30.0) -> None:
        self._snapshot, self._flush_windows, self._flush_s = snapshot, flush_windows, flush_s
        self._next_window, self._next_clip, self._last = snapshot.next_window, snapshot.next_clip, snapshot.last
        self.entries = dict(snapshot.entries)
        """Clips that are there, with what is not written yet."""
        self.by_name: dict[Name, Entry] = snapshot.by_name()
        self._clear()
        self.seconds = 0.0
        """Spent on writing."""
        self.windows = 0
        """Windows that were added."""
        self.segments = 0
        """Segments that were written."""

    def _clear(self) -> None:
        self._changed: dict[int, Entry] = {}
        self._gone: list[int] = []
        self._windows: list[Window] = []
        self._vectors: dict[str, tuple[list[int], list[np.ndarray]]] = {}
        self._since = time.monotonic()

    def new_clip(self) -> int:
        """A number for a clip."""
        self._next_clip += 1
        return self._next_clip - 1

    def put(self, entry: Entry) -> None:
        """Add a clip, or change what is known of it; one of the same name but another number is removed."""
        before, same = self.entries.get(entry.clip), self.by_name.get(entry.name)
        if same is not None and same.clip != entry.clip:
            self.remove(same.clip)
        if before is not None and before.name != entry.name:
            self.by_name.pop(before.name, None)
        self.entries[entry.clip] = self.by_name[entry.name] = self._changed[entry.clip] = entry

    def remove(self, clip: int) -> None:
        """Remove a clip with its windows."""
        entry = self.entries.pop(clip)
        self.by_name.pop(entry.name, None)
        self._changed.pop(clip, None)
        self._gone.append(clip)

    def add(
        self, clip: int, span_s: tuple[float, float], *, streams: tuple[str, ...], texts: Mapping[str, str],
        vectors: Mapping[str, np.ndarray],
    ) -> None:  # fmt: skip
        """Add a window of a clip that was put.

        Args:
            clip: its number.
            span_s: begin and end in the file.
            streams: that were there.
            texts: words of the window.
            vectors: space -> (D,), of length one.
        """
        window = Window(id=self._next_window, clip=clip, start_s=span_s[0], end_s=span_s[1], streams=streams, texts=texts)
        self._next_window += 1
        self.windows += 1
        self._windows.append(window)
        for space, vector_D in vectors.items():
            ids, held = self._vectors.setdefault(space, ([], []))
            ids.append(window.id)
            held.append(vector_D)
        self.put(replace(self.entries[clip], windows=self.entries[clip].windows + 1))

    def flush(self, *, force: bool = True) -> None:
        """Write what was gathered as a segment; without `force` only where that is due."""
        due = len(self._windows) >= self._flush_windows or time.monotonic() - self._since > self._flush_s
        if not (self._changed or self._gone) or not (due or force):
            return
        began = time.perf_counter()
        content = Content(
            entries=list(self._changed.values()), gone=self._gone, windows=self._windows,
            vectors={space: (np.array(ids, np.int64), np.stack(held)) for space, (ids, held) in self._vectors.items()},
        )  # fmt: skip
        manifest = self._snapshot.manifest
        write_segment(
            self._snapshot.folder / "segments", content, library=manifest.id, numbers=(self._last + 1, self._last + 1),
            next_window=self._next_window, next_clip=self._next_clip, precision=manifest.precision,
        )  # fmt: skip
        self._last += 1
        self.segments += 1
        self._clear()
        self.seconds += time.perf_counter() - began
