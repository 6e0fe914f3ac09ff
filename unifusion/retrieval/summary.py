"""How a run over files is done, and how it went."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Clock", "IndexOptions", "Summary"]


@dataclass(frozen=True, kw_only=True)
class IndexOptions:
    """How a run is done.

    Attributes:
        batch_size: windows embedded at once.
        workers: threads that look and decode ahead.
        flush_windows, flush_s: windows and seconds after which what was embedded is written.
        on_bad: "note" what cannot be read and go on, or "stop" there.
        retry_bad: try files again that could not be read and have not changed.
        prune: remove clips whose files are gone.
        isolate: read headers in a killable child process, as the embedder does with all else.
    """

    batch_size: int = 8
    workers: int = 2
    flush_windows: int = 512
    flush_s: float = 30.0
    on_bad: str = "note"
    retry_bad: bool = False
    prune: bool = False
    isolate: bool = False


@dataclass(kw_only=True)
class Summary:
    """How a run went. Clips are files or spans that a manifest named."""

    clips: int = 0
    """Embedded by this run."""
    windows: int = 0
    """Theirs."""
    there: int = 0
    """As they were."""
    known_anew: int = 0
    """Whose file was touched or whose metadata changed; vectors are kept."""
    moved: int = 0
    """Renamed; vectors are kept."""
    copied: int = 0
    """Of the same content as another; vectors are copied."""
    vanished: int = 0
    """Whose files are gone, kept."""
    pruned: int = 0
    """Whose files are gone, removed."""
    bad: int = 0
    """That cannot be read."""
    bad_windows: int = 0
    """Left out of clips that can be read elsewhere."""
    passed_over: int = 0
    """Files of folders that are no media."""
    media_s: float = 0.0
    decode_s: float = 0.0
    """Of all threads together: hashing, headers, decoding, preprocessing."""
    encode_s: float = 0.0
    write_s: float = 0.0
    """Segments and what searches."""
    cpu_s: float = 0.0
    """Of all cores, user and system."""
    seconds: float = 0.0
    """Of the clock, from looking for files to the end, without loading the embedder."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        told = {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}
        rate, of_core = (round(self.clips / s, 3) if s else 0.0 for s in (self.seconds, self.cpu_s))
        return {**told, "clips_per_s": rate, "clips_per_core_s": of_core}

    def told(self) -> str:
        """One line for people."""
        counts = (
            (self.known_anew, "known anew"), (self.moved, "renamed"), (self.copied, "of known content"), (self.pruned, "removed"),
            (self.vanished, "whose files are gone (--prune removes them)"), (self.bad, "bad"), (self.bad_windows, "bad windows"),
        )  # fmt: skip
        more = "".join(f", {n} {what}" for n, what in counts if n)
        spent = f"decode {self.decode_s:.1f} s, encode {self.encode_s:.1f} s, write {self.write_s:.1f} s"
        rate = f"{self.to_dict()['clips_per_core_s']:.2f} clips per second and core"
        new = f"{self.clips} clips embedded as {self.windows} windows ({spent}; {rate})" if self.clips else "nothing new"
        return f"{new}, {self.there} as they were{more}"


class Clock:
    """Seconds since it was made, of the clock and of all cores; children of this process count when they have ended."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), _cpu_s()

    @property
    def spent(self) -> tuple[float, float]:
        """Of the clock, and of all cores."""
        return time.perf_counter() - self._began, _cpu_s() - self._cpu


def _cpu_s() -> float:
    """Seconds of all cores that this process has used, and its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
