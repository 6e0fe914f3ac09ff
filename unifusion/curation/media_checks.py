"""Whether the clip that a row names is there, is one, may be read, and is as long as its span."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from unifusion.conversation import Clip, Media, Mix
from unifusion.datasets._within import leads_out
from unifusion.errors import UniFusionError
from unifusion.limits import Limits
from unifusion.media import MediaInfo, Sampling, probe, read_clip

__all__ = ["Found", "MediaChecks", "header", "header_of"]

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_LATE_S = 0.5
"""A span that ends later than its file by more than this does not belong to it; headers round by less."""
_PIECE_S = 60.0
_EVERY = Sampling(rate_hz=60.0, max_side_px=32)
"""Every frame of a file of up to 60 a second, small: one that is not asked for may not be decoded."""
Found = tuple[str, str, str, str]
"""(kind, found, remedy, severity)."""


@lru_cache(maxsize=65_536)
def header(path: str) -> MediaInfo | tuple[str, str, str]:
    """What a file's header says, or (kind, found, remedy) of what is wrong with it; read once a process."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        lost = os.path.islink(path) if "\0" not in path else False
        reason = "a link that leads nowhere" if lost else getattr(error, "strerror", None) or str(error)
        return "missing", f"{path}: {reason};", "download it, or leave the row out."
    if not stat.S_ISREG(mode):
        return "not_a_file", f"{path} is no regular file (a folder, device or pipe);", "name the file of a clip."
    if not os.path.getsize(path):
        return "empty_file", f"{path} has 0 bytes;", "download it again."
    return header_of(path)


def header_of(source: str | bytes) -> MediaInfo | tuple[str, str, str]:
    """The same of a file that is there, or of a clip that a row holds itself."""
    try:
        return probe(source)
    except UniFusionError as error:
        return "broken_file", error.found, error.remedy


@lru_cache(maxsize=65_536)
def whole(path: str, length_s: float) -> str:
    """Decode all of a file in a child process that is killed when it hangs; "" or what is wrong."""
    begin = 0.0
    while begin < max(length_s, 1e-3):
        last = begin + _PIECE_S >= length_s
        try:
            read_clip(path, start_s=begin, end_s=None if last else begin + _PIECE_S, video=_EVERY, audio=True, isolate=True)
        except UniFusionError as error:
            return error.found
        begin += _PIECE_S
    return ""


@dataclass(frozen=True, kw_only=True)
class MediaChecks:
    """How far clips are looked at.

    Attributes:
        base: folder that relative names of a JSONL file follow; None where a reader found the files itself.
        root: folder that files must lie in, absolute names and links included; None: relative names must stay below `base`.
        depth: none leaves files alone, probe reads headers, decode decodes every file whole.
    """

    base: Path | None = None
    root: Path | None = None
    depth: str = "probe"

    def __call__(self, media: Media) -> Iterator[Found]:
        """What is wrong with one clip of a row."""
        yield from _span(media)
        source = media.source
        if isinstance(source, Clip | Mix) or (str(source).startswith("clip-world://") and not isinstance(source, bytes)):
            return
        if isinstance(source, bytes):
            yield from self._held(source, media)
            return
        path = str(source)
        if _URL.match(path):
            yield "url", f"{path[:80]!r} is an address; nothing is fetched;", "download it and name the file.", "error"
            return
        if led := self._out(path):
            yield "path_out", led, "keep clips in the folder, or name the one they may lie in: --root DIR.", "error"
            return
        if self.depth == "none":
            return
        found = header(path)
        if isinstance(found, tuple):
            yield (*found, "error")
            return
        yield from _fits(media, found)
        if self.depth == "decode" and (wrong := whole(path, found.duration_s or 0.0)):
            yield "broken_file", wrong, "convert it again, or leave the row out.", "error"

    def _held(self, data: bytes, media: Media) -> Iterator[Found]:
        """A clip that the row holds itself."""
        if self.depth == "none":
            return
        found = header_of(data)
        if isinstance(found, tuple):
            yield (*found, "error")
            return
        yield from _fits(media, found)
        if self.depth == "decode":
            try:
                read_clip(data, video=_EVERY, audio=True, isolate=True)
            except UniFusionError as error:
                yield "broken_file", error.found, error.remedy, "error"

    def _out(self, path: str) -> str:
        """How a path leads out of where it may; "" where it does not."""
        if self.root is not None:
            led = leads_out(Path(path), self.root)
            return f"{path} leads out of {self.root} ({led});" if led else ""
        if self.base is None:
            return ""
        base, plain = os.path.abspath(self.base), os.path.abspath(path.replace("\0", ""))
        if not plain.startswith(os.path.join(base, "")):
            # An absolute name is what somebody chose for this machine; a relative one that climbs out is a trick, or breaks with a copy.
            return f"{path} leads out of {self.base};" if ".." in Path(path).parts else ""
        led = leads_out(Path(path), Path(base).resolve())
        return f"{path} is a link that leads out of {self.base} ({led});" if led and os.path.lexists(plain) else ""


def _span(media: Media) -> Iterator[Found]:
    """Times that are none whatever the file."""
    start, end = media.start_s or 0.0, media.end_s
    if end is not None and end <= start:
        yield "span", f"{_named(media)}: the span {start:g} to {end:g} s is empty;", "let it end after it begins.", "error"
    elif end is not None and end - start > Limits.max_span_seconds:
        found = f"{_named(media)}: a span of {end - start:g} s, at most {Limits.max_span_seconds:g} are read;"
        yield "span", found, "cut it into shorter rows.", "error"


def _fits(media: Media, info: MediaInfo) -> Iterator[Found]:
    """Whether a file holds what the row takes of it."""
    if media.kind == "audio" and not info.has_audio:
        yield "no_stream", f"{_named(media)} has no sound;", "name it under video or image, or leave the row out.", "error"
    if media.kind in ("video", "image") and not info.has_video and not info.is_image:
        severity = "warning" if info.has_audio and media.kind == "video" else "error"
        yield "no_stream", f"{_named(media)} has no picture;", "name it under audio.", severity
    length = info.duration_s
    if not length or info.is_image:
        return
    if (media.start_s or 0.0) >= length:
        yield (
            "span",
            f"{_named(media)}: the span begins at {media.start_s:g} s, the file is {length:.2f} s long;",
            "mend the times.",
            "error",
        )
    elif media.end_s is not None and media.end_s > length + _LATE_S:
        found = f"{_named(media)}: the span ends at {media.end_s:g} s, the file is {length:.2f} s long;"
        yield "span_late", found, "mend the times: what is there is shorter than what is described.", "warning"


def _named(media: Media) -> str:
    """What to call a clip, not too long."""
    return media.name if len(media.name) <= 120 else f"..{media.name[-117:]}"
