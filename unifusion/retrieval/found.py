"""What a search gives: a window of a clip, where it is, how well it fits, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Found"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A window of a clip.

    Attributes:
        path: absolute path of the file, or a `clip-world://` reference.
        kind: "video" (picture and sound, whichever are there), "audio" or "image": what its clip was indexed as.
        start_s, end_s: its span in the file; both 0 for a still.
        score: cosine of the query and the window, in [-1, 1].
        streams: those of the embedder that the window gave something to.
        texts: words by name; under `transcript` those said in this window.
        metadata: what a manifest told of the clip, by which searches can be filtered.
        id: number of the window in its library; it stays when the file is renamed.
    """

    path: str
    kind: str
    start_s: float
    end_s: float
    score: float
    streams: tuple[str, ...]
    texts: Mapping[str, str]
    metadata: Mapping[str, Any]
    id: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "path": self.path, "kind": self.kind, "start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3),
            "score": round(self.score, 6), "streams": list(self.streams), "texts": dict(self.texts), "metadata": dict(self.metadata),
            "id": self.id,
        }  # fmt: skip
