"""The rows of a segment: clips (a file, or a span of it) and their windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["Entry", "Window", "name_of"]

Name = tuple[str, float | None, float | None, str]


def name_of(path: str, start_s: float | None, end_s: float | None, asked: str) -> Name:
    """By what a clip is known from run to run: file, span, and as what it was asked for."""
    return path, start_s, end_s, asked


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A clip of the library. A later row of the same number takes the place of an earlier one.

    Attributes:
        clip: its number.
        path: absolute, or a `clip-world://` reference.
        root: folder, file or manifest by which it was found.
        listed: a manifest named it, so that what is known of it stays when a folder names it as well.
        start_s, end_s: span of the file that is this clip; None from its begin, to its end.
        asked: "video", "audio", "image" where a manifest said so, else "".
        size, mtime_ns, inode: of the file when it was read.
        sha256: of its bytes.
        told: hash of what is known beside the file: words and metadata.
        key: hash of what its vectors depend on.
        kind: what it is.
        duration_s: of the clip.
        windows: that it was cut into, those left out as unreadable included.
        done: all of them are there.
        texts, metadata: what is known of it.
        error: why it cannot be read; it has no windows then.
    """

    clip: int
    path: str
    root: str
    listed: bool
    start_s: float | None
    end_s: float | None
    asked: str
    size: int
    mtime_ns: int
    inode: int
    sha256: str
    told: str
    key: str
    kind: str = ""
    duration_s: float = 0.0
    windows: int = 0
    done: bool = True
    texts: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def name(self) -> Name:
        """By what it is known."""
        return name_of(self.path, self.start_s, self.end_s, self.asked)

    @property
    def state(self) -> tuple[int, int, int]:
        """Equal ones mean that nobody has written to the file."""
        return self.size, self.mtime_ns, self.inode

    def to_dict(self) -> dict[str, Any]:
        """The row; what is at its default is left out."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v for k, v in told.items() if k not in _DEFAULTS or v != _DEFAULTS[k]}

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Entry:
        """The entry of a row.

        Raises:
            TypeError, ValueError: a key is missing or unknown, or a value of another kind.
        """
        entry = cls(**raw)
        numbers = (entry.clip, entry.size, entry.mtime_ns, entry.inode, entry.windows)
        words = (entry.path, entry.root, entry.asked, entry.sha256, entry.told, entry.key, entry.kind, entry.error)
        seconds = [s for s in (entry.start_s, entry.end_s, entry.duration_s) if s is not None]
        if not all(type(n) is int for n in numbers) or not all(isinstance(w, str) for w in words) or entry.clip < 0:
            raise ValueError(f"a row of a clip holds {raw!r:.200}")
        if not all(isinstance(s, int | float) for s in seconds) or not all(isinstance(m, dict) for m in (entry.texts, entry.metadata)):
            raise ValueError(f"a row of a clip holds {raw!r:.200}")
        return entry


_DEFAULTS: dict[str, Any] = {"kind": "", "duration_s": 0.0, "windows": 0, "done": True, "texts": {}, "metadata": {}, "error": ""}


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window of a clip.

    Attributes:
        id: its number in the library.
        clip: whose it is.
        start_s, end_s: its span in the file.
        streams: of the embedder that it gave something to.
        texts: under `transcript` what is said in it.
    """

    id: int
    clip: int
    start_s: float
    end_s: float
    streams: tuple[str, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The row."""
        return {
            "id": self.id, "clip": self.clip, "start_s": self.start_s, "end_s": self.end_s, "streams": list(self.streams),
            "texts": dict(self.texts),
        }  # fmt: skip

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Window:
        """The window of a row.

        Raises:
            TypeError, ValueError: a key is missing or unknown, or a value of another kind.
        """
        window = cls(**{**raw, "streams": tuple(raw["streams"])})
        if type(window.id) is not int or type(window.clip) is not int or not isinstance(window.texts, dict):
            raise ValueError(f"a row of a window holds {raw!r:.200}")
        if not all(isinstance(s, int | float) for s in (window.start_s, window.end_s)):
            raise ValueError(f"a row of a window holds {raw!r:.200}")
        return window
