"""One row of a JSONL file or a table as plain keys and values: which clips it names, what span of them, what is said in it.

Manifests, datasets and messages read the same keys by this, so that the same row means the same clip everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unifusion.conversation import Line, MediaKind
from unifusion.errors import DatasetError

__all__ = ["CLIP_KEYS", "PART_KINDS", "PART_SOURCES", "NamedClips", "json_row", "speaking", "take_clips", "take_lines"]

CLIP_KEYS = ("path", "video", "audio", "image")
"""Under which a row names files; what one under `path` is follows from the file."""
PART_KINDS: dict[str, MediaKind] = {
    "video": "video", "video_url": "video", "input_video": "video", "audio": "audio", "audio_url": "audio", "input_audio": "audio",
    "image": "image", "image_url": "image", "input_image": "image",
}  # fmt: skip
"""`type` of a message's part that is a clip, as Hugging Face and OpenAI spell it -> what it is."""
PART_SOURCES = ("path", "url", *PART_KINDS)
"""Keys under which such a part names its file."""


@dataclass(frozen=True, kw_only=True)
class NamedClips:
    """The clips of a row.

    Attributes:
        files: (key, name) in the order of `CLIP_KEYS`.
        start_s, end_s: span of each.
        transcript: what is said in them.
        subtitles: the same with its times, in seconds of the file, and where they come from.
    """

    files: tuple[tuple[str, str], ...] = ()
    start_s: float | None = None
    end_s: float | None = None
    transcript: str | None = None
    subtitles: tuple[Line, ...] = ()
    words_from: str = ""

    def said(self, number: int) -> str | None:
        """What is said in the clip of that number: a row's words are told once, with the clip that they are heard in."""
        return self.transcript if number == speaking([key for key, _ in self.files]) else None

    def lines(self, number: int) -> dict[str, Any]:
        """The same of its timed words, as keywords of a Media."""
        spoken = self.subtitles and number == speaking([key for key, _ in self.files])
        return {"subtitles": self.subtitles, "words_from": self.words_from} if spoken else {}


def speaking(kinds: Sequence[str]) -> int:
    """Number of the clip that words are heard in: the first sound, else the first of all."""
    return kinds.index("audio") if "audio" in kinds else 0


def json_row(line: str | bytes, where: str) -> dict[str, Any]:
    """Read one line.

    Raises:
        DatasetError: it is not a JSON object.
    """
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{where}: not JSON ({error});", remedy="write one JSON object a line.") from error
    if not isinstance(raw, dict):
        raise DatasetError(f"{where}: {type(raw).__name__}, wanted an object;", remedy='write lines like {"id": "a", "path": "a.mp4"}.')
    return raw


def take_clips(fields: dict[str, Any], where: str) -> NamedClips:
    """Take files and span out of a row; `transcript` and `subtitles` are read and left there, since a prompt may show them.

    Raises:
        DatasetError: a file's name is none, a time is no number of seconds, the transcript is no text, or a subtitle no timed line.
    """
    files = tuple((key, name) for key in CLIP_KEYS for name in _names(fields.pop(key, None), key, where))
    start_s, end_s = (_seconds(fields.pop(key, None), key, where) for key in ("start_s", "end_s"))
    said = fields.get("transcript")
    if said is not None and not isinstance(said, str):
        raise DatasetError(f"{where}: transcript is {said!r};", remedy="a string is wanted: what is said in the clip.")
    lines, origin = take_lines(fields.get("subtitles"), where), fields.get("words_from")
    return NamedClips(
        files=files, start_s=start_s, end_s=end_s, transcript=said or None, subtitles=lines,
        words_from=origin if lines and isinstance(origin, str) else "",
    )  # fmt: skip


def take_lines(value: Any, where: str) -> tuple[Line, ...]:
    """Timed lines of a list of `{"start_s", "end_s", "text"}`; anything but a list is no subtitles (a set may call other things so).

    Raises:
        DatasetError: one of them is not as that.
    """
    return tuple(_line(raw, where) for raw in value) if isinstance(value, list | tuple) else ()


def _line(raw: Any, where: str) -> Line:
    """One of them."""
    if isinstance(raw, Line):
        return raw
    try:
        line = Line(float(raw["start_s"]), float(raw["end_s"]), raw["text"])
    except (TypeError, KeyError, ValueError):
        line = None
    if line is None or not isinstance(line.text, str) or not 0 <= line.start_s < line.end_s < math.inf:
        raise DatasetError(f"{where}: a subtitle is {raw!r:.80};", remedy='write {"start_s": 1.0, "end_s": 2.5, "text": "Hello."}.')
    return line


def _names(value: Any, key: str, where: str) -> list[str]:
    """Names of no file, one or several."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{where}: {key} is {value!r};", remedy="give a file's name, or a list of them.")
    return names


def _seconds(value: Any, key: str, where: str) -> float | None:
    """A number of seconds, or None where the row has none."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0):
        return value
    raise DatasetError(f"{where}: {key} is {value!r};", remedy="a number of seconds from 0 on is wanted, or no such key.")
