"""Damaged segments set aside, so that a library can go on; and many small segments made into one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from unifusion.atomic import remove_folder
from unifusion.errors import CheckpointError
from unifusion.retrieval.layout import Manifest
from unifusion.retrieval.segment import Content, Segment, numbers_of, typed, write_segment
from unifusion.retrieval.snapshot import Snapshot, named_segments

__all__ = ["compact", "repair", "sweep_merged"]

_MOST_OF_A_SIZE = 8


def repair(folder: Path, manifest: Manifest) -> list[str]:
    """Set damaged segments aside in `INDEX/broken`, an empty one in the place of each; returns what was wrong. The writer's lock is held.

    Clips that had windows there are removed as a whole, so that the next run encodes them.
    """
    segments, wrong = folder / "segments", []
    next_window, next_clip = _beyond([p for _, _, p in named_segments(segments)])
    last = 0
    for first, to, path in list(named_segments(segments)):
        if first > last + 1:
            wrong.append(f"segments {last + 1} to {first - 1} are missing")
            _write(segments, manifest, Content(), (last + 1, first - 1), next_window, next_clip)
        damage = _damage(path, manifest)
        if damage:
            wrong.append(damage)
            (folder / "broken").mkdir(exist_ok=True)
            shutil.rmtree(folder / "broken" / path.name, ignore_errors=True)
            path.rename(folder / "broken" / path.name)
            _write(segments, manifest, Content(), (first, to), next_window, next_clip)
        last = to
    if wrong:
        now = Snapshot(folder, manifest)
        counts = dict(zip(*np.unique(now.clips_N[now.alive_N], return_counts=True), strict=True))
        halves = [entry.clip for entry in now.entries.values() if entry.windows != counts.get(entry.clip, 0)]
        _write(segments, manifest, Content(gone=halves), (last + 1, last + 1), now.next_window, now.next_clip)
    return wrong


def _damage(path: Path, manifest: Manifest) -> str:
    """What is wrong with a segment, "" where nothing is."""
    try:
        read = Segment(path, library=manifest.id, width=manifest.embedder.width, remedy="")
        for space in read.spaces:
            read.vectors(space)
    except CheckpointError as error:
        return error.found
    return ""


def _beyond(folders: list[Path]) -> tuple[int, int]:
    """Numbers of windows and clips that no segment has used, as far as any tells."""
    windows, clips = [0], [0]
    for path in folders:
        try:
            with typed(path, ""):
                raw = json.loads((path / "segment.json").read_text(encoding="utf-8"))
                windows.append(int(raw["next_window"]))
                clips.append(int(raw["next_clip"]))
        except CheckpointError:
            continue  # it is about to be set aside
    return max(windows), max(clips)


def _write(folder: Path, manifest: Manifest, content: Content, numbers: tuple[int, int], next_window: int, next_clip: int) -> None:
    """Write a segment with what the manifest says."""
    write_segment(
        folder, content, library=manifest.id, numbers=numbers, next_window=next_window, next_clip=next_clip, precision=manifest.precision
    )


def compact(snapshot: Snapshot) -> bool:
    """Make the last segments into one where there are many of about one size; returns whether. The writer's lock is held.

    Those that are merged are at most about as large as what follows them, so that a window is written again a few times only, however
    often a library grows. What was removed is left out. A kill leaves the old ones, or the new one beside them, which stands for them.
    """
    sizes = [len(s.ids_N) + len(s.entries) + 1 for s in snapshot.segments]
    start = len(sizes)
    while start > 0 and sizes[start - 1] < 2 * sum(sizes[start:]) + _MOST_OF_A_SIZE:
        start -= 1
    merged = snapshot.segments[start:]
    if len(merged) <= _MOST_OF_A_SIZE:
        return False
    own = np.concatenate([s.ids_N for s in merged])
    ids = np.intersect1d(own, snapshot.ids_N[snapshot.alive_N])
    told = {clip for segment in merged for clip in (*(e.clip for e in segment.entries), *segment.gone)}
    content = Content(
        entries=[snapshot.entries[clip] for clip in sorted(told) if clip in snapshot.entries],
        gone=sorted(told - set(snapshot.entries)) if start else [],
        windows=list(snapshot.windows(ids)),
        vectors={space: vectors for space in snapshot.spaces if len((vectors := snapshot.vectors(space, ids))[0])},
    )
    numbers = (merged[0].first, merged[-1].last)
    _write(snapshot.folder / "segments", snapshot.manifest, content, numbers, snapshot.next_window, snapshot.next_clip)
    sweep_merged(snapshot.folder / "segments")
    return True


def sweep_merged(folder: Path) -> None:
    """Remove segments that another stands for. The writer's lock is held."""
    kept = {path for _, _, path in named_segments(folder)}
    for path in list(folder.iterdir()) if folder.is_dir() else []:
        if numbers_of(path) is not None and path not in kept:
            remove_folder(path)
