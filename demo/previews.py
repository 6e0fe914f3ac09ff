"""What a browser plays of a found window: the window itself, cut out and written anew, so that no file of the index is ever served."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from unifusion.errors import MediaError
from unifusion.limits import Limits
from unifusion.media.written import jpegs, wav, write_film
from unifusion.retrieval.found import Found
from unifusion.retrieval.passages import joined
from unifusion.retrieval.shown import opened

__all__ = ["Preview", "Previews"]

_RATE_HZ = 12.0
_LONGEST_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Files of one window in the folder of previews.

    Attributes:
        kind: video, audio or image.
        path: what is played or shown.
        poster: a picture of a video; None where there is none.
    """

    kind: str
    path: Path
    poster: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [self.path, *([self.poster] if self.poster else [])]


class Previews:
    """Makes previews and keeps the last ones.

    Args:
        folder: where they lie; nothing else does.
        limits: of what is decoded, in a killable child process.
        capacity: how many are kept; those unused longest go first.
    """

    def __init__(self, folder: Path, *, limits: Limits, capacity: int = 256) -> None:
        self.folder, self.limits, self.capacity = folder, limits, capacity
        self._held: OrderedDict[str, Preview] = OrderedDict()
        self._lock = threading.Lock()
        folder.mkdir(exist_ok=True)

    def of(self, found: Found) -> Preview:
        """The preview of a window, made when it is first asked for.

        Raises:
            MediaError: the file is gone, or cannot be decoded.
        """
        key = _key(found)
        with self._lock:
            if key not in self._held:
                self._held[key] = self._make(found, key)
            self._held.move_to_end(key)
            while len(self._held) > self.capacity:
                for old in self._held.popitem(last=False)[1].files:
                    old.unlink(missing_ok=True)
            return self._held[key]

    def _make(self, found: Found, name: str) -> Preview:
        """Decode the window and write what a browser takes."""
        [passage] = joined([found], longest_s=_LONGEST_S)
        media = passage.media(limits=self.limits, isolate=True)
        clip = opened(media, rate_hz=_RATE_HZ, max_seconds=_LONGEST_S, limits=self.limits, isolate=True)
        pictures = jpegs(clip, 1)
        if media.kind == "image" and pictures:
            return Preview(kind="image", path=self._written(f"{name}.jpg", pictures[0]))
        if pictures:
            film = self.folder / f"{name}.mp4"
            write_film(clip, film)
            return Preview(kind="video", path=film, poster=self._written(f"{name}.jpg", pictures[0]))
        sound = wav(clip)
        if sound is None:
            raise MediaError(f"{found.path}: nothing to see or to hear;", remedy="bring the index up to date.")
        return Preview(kind="audio", path=self._written(f"{name}.wav", sound))

    def _written(self, name: str, data: bytes) -> Path:
        """A file of the folder."""
        path = self.folder / name
        path.write_bytes(data)
        return path


def _key(found: Found) -> str:
    """By what a preview is known: the file as it is now, and the span."""
    try:
        state = os.stat(found.path)
        changed = (state.st_size, state.st_mtime_ns)
    except (OSError, ValueError):
        changed = (0, 0)
    told = f"{found.path}\0{found.start_s}\0{found.end_s}\0{changed}"
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]
