"""Looking at a file before anything is computed: its state on disk, the hash of its bytes, what it is, and its windows; work ahead."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from unifusion.conversation import Media
from unifusion.errors import MediaError
from unifusion.limits import Limits
from unifusion.retrieval.layout import Manifest
from unifusion.retrieval.scan import Wanted
from unifusion.retrieval.spans import measured_s, plan

__all__ = ["Looked", "Span", "ahead", "look", "media_of", "state_of"]

A = TypeVar("A")
B = TypeVar("B")
Span = tuple[float, float]
_INDEXED = ("mov", "matroska")
"""Containers in which a span is found without reading what comes before."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a file is.

    Attributes:
        wanted: the clip that was looked at.
        state: size, time of change, inode.
        sha256: of its bytes.
        key: of its vectors.
        kind: what it is; "" where nobody needed to know.
        begin_s, end_s: span of the clip in the file.
        frame_bytes: of a decoded frame, 0 without picture, where the file has no index by which a window is found; else None.
        spans: its windows; none where its vectors are there already, under `key`.
        error: why it cannot be read.
    """

    wanted: Wanted
    state: tuple[int, int, int]
    sha256: str = ""
    key: str = ""
    kind: str = ""
    begin_s: float = 0.0
    end_s: float = 0.0
    frame_bytes: int | None = None
    spans: tuple[Span, ...] = ()
    error: MediaError | None = None


def state_of(wanted: Wanted) -> tuple[int, int, int]:
    """Size, time of change and inode of its file; zeros where there is none."""
    if wanted.rendered:
        return 0, 0, 0
    try:
        found = os.stat(wanted.path)
    except OSError:
        return 0, 0, 0
    return found.st_size, found.st_mtime_ns, found.st_ino


def look(wanted: Wanted, manifest: Manifest, known: Container[str], limits: Limits, *, isolate: bool = False) -> Looked:
    """Hash a file and, if vectors of its content are not `known`, read its header and plan its windows. Safe in threads."""
    state = state_of(wanted)  # before its bytes are read: what is written meanwhile is seen by the next run
    sha256 = ""
    try:
        if wanted.problem is not None:
            raise wanted.problem
        sha256 = _sha256(wanted, limits)
        key = wanted.key(sha256)
        if key in known:
            return Looked(wanted=wanted, state=state, sha256=sha256, key=key)
        kind, length_s, frame_bytes = _measured(wanted, limits, isolate)
        begin_s = wanted.start_s or 0.0
        end_s = length_s if wanted.end_s is None else min(wanted.end_s, length_s)
        if kind == "image":
            begin_s = end_s = 0.0
            spans = [(0.0, 0.0)]
        elif begin_s >= end_s:
            raise MediaError(
                f"{wanted.path}: nothing from {begin_s:g} s on, it is {length_s:.2f} s long;", remedy="choose a span within the file."
            )
        else:
            most_s = manifest.embedder.max_seconds
            spans = plan(begin_s, end_s, window_s=manifest.window_s, hop_s=manifest.hop_s, max_seconds=most_s)
    except MediaError as error:
        return Looked(wanted=wanted, state=state, sha256=sha256, error=error)
    return Looked(
        wanted=wanted, state=state, sha256=sha256, key=key, kind=kind, begin_s=begin_s, end_s=end_s, frame_bytes=frame_bytes,
        spans=tuple(spans),
    )  # fmt: skip


def _sha256(wanted: Wanted, limits: Limits) -> str:
    """Hash of a file's bytes, or of what is rendered.

    Raises:
        MediaError: it cannot be opened, or is no clip.
    """
    if wanted.rendered:
        return hashlib.sha256(wanted.path.encode()).hexdigest()
    from unifusion.media.source import open_source

    with open_source(Path(wanted.path), limits) as source:
        return hashlib.file_digest(source.handle, "sha256").hexdigest()  # type: ignore[arg-type]


def _measured(wanted: Wanted, limits: Limits, isolate: bool) -> tuple[str, float, int | None]:
    """What a clip is, how long its file, and `Looked.frame_bytes`.

    Raises:
        MediaError: its header cannot be read.
    """
    if wanted.rendered:
        from unifusion.world.render import parse_reference

        return wanted.asked or "video", float(parse_reference(wanted.path).duration_s), None
    from unifusion.media import probe

    info = probe(wanted.path, limits=limits, isolate=isolate)
    kind = wanted.asked or ("image" if info.is_image else "video" if info.has_video else "audio")
    if info.is_image or kind == "image":
        return "image", 0.0, None
    frame_bytes = None if info.container in _INDEXED else 3 * info.width * info.height
    return kind, info.duration_s or measured_s(wanted.path, limits), frame_bytes


def media_of(looked: Looked, span: Span) -> Media:
    """The reference to a window; a clip that is one window is the whole of what was asked for."""
    wanted, whole = looked.wanted, len(looked.spans) == 1
    start_s, end_s = (wanted.start_s, wanted.end_s) if whole else span
    said = wanted.said.within(*span, (looked.begin_s, looked.end_s))
    return Media(kind=looked.kind, source=wanted.path, start_s=start_s, end_s=end_s, transcript=said)  # type: ignore[arg-type]


def ahead(pool: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], depth: int) -> Generator[tuple[A, B]]:
    """`work` on items in their order, at most `depth` of them begun before they are asked for."""
    waiting: deque[tuple[A, Future[B]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= depth:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
