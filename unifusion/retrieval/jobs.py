"""What a run has to do for a clip: its row, and its windows to embed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unifusion.limits import Limits
from unifusion.retrieval.entry import Entry
from unifusion.retrieval.looking import Looked, Span, media_of
from unifusion.retrieval.pieces import Piece, Rates, pieces_of

__all__ = ["Job", "entry_of", "jobs_of"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A window to embed.

    Attributes:
        looked: its file.
        entry: its clip.
        span: begin and end in the file.
        last: it ends its clip.
        piece: stretch of a long file from which it is cut.
    """

    looked: Looked
    entry: Entry
    span: Span
    last: bool
    piece: Piece | None = None


def entry_of(found: Looked, before: Entry | None = None) -> Entry:
    """The row of a clip; with `before` it keeps number, windows and length of that one, else its number is -1."""
    wanted = found.wanted
    size, mtime_ns, inode = found.state
    kept = before or Entry(
        clip=-1, path="", root="", listed=False, start_s=None, end_s=None, asked="", size=0, mtime_ns=0, inode=0, sha256="", told="",
        key="", kind=found.kind, duration_s=round(found.end_s - found.begin_s, 6), done=False,
    )  # fmt: skip
    return replace(
        kept, path=wanted.path, root=wanted.root, listed=wanted.listed, start_s=wanted.start_s, end_s=wanted.end_s, asked=wanted.asked,
        size=size, mtime_ns=mtime_ns, inode=inode, sha256=found.sha256, told=wanted.told, key=found.key, texts=wanted.texts,
        metadata=wanted.metadata,
    )  # fmt: skip


def jobs_of(found: Looked, entry: Entry, spans: Sequence[Span], rates: Rates, limits: Limits, isolate: bool) -> list[Job]:
    """Windows of a clip to embed; those of a long file without an index with the stretches from which they are cut.

    Args:
        found: the file.
        entry: the row of the clip.
        spans: windows that are not there yet.
        rates: what the embedder decodes a second; (None, None) where it does not tell, so that windows are read one by one.
        limits: of the file.
        isolate: decode stretches in a killable child process.
    """
    pieces: dict[Span, Piece] = {}
    if found.frame_bytes is not None and len(spans) > 1:
        whole = replace(media_of(found, (found.begin_s, found.end_s)), transcript=None)
        pieces = pieces_of(whole, list(spans), found.frame_bytes, rates, limits, isolate)
    last = len(spans) - 1
    return [Job(looked=found, entry=entry, span=span, last=n == last, piece=pieces.get(span)) for n, span in enumerate(spans)]
