"""One row of a JSONL file or a table as plain keys and values: which clips it names, what span of them, what is said in it.

Manifests, datasets and messages read the same keys by this, so that the same row means the same clip everywhere.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from unifusion.conversation import Line, MediaKind
from unifusion.errors import DatasetError

__all__ = [
    "BOM", "CLIP_KEYS", "PART_KINDS", "PART_SOURCES", "NamedClips", "are_parts", "json_row", "lines_of", "name_from", "speaking",
    "take_clips", "take_lines", "too_long",
]  # fmt: skip

CLIP_KEYS = ("path", "video", "audio", "image")
"""Under which a row names files; what one under `path` is follows from the file."""
PART_KINDS: dict[str, MediaKind] = {
    "video": "video", "video_url": "video", "input_video": "video", "audio": "audio", "audio_url": "audio", "input_audio": "audio",
    "image": "image", "image_url": "image", "input_image": "image",
}  # fmt: skip
"""`type` of a message's part that is a clip, as Hugging Face and OpenAI spell it -> what it is."""
PART_SOURCES = ("path", "url", *PART_KINDS)
"""Keys under which such a part names its file."""
_LATEST_S = 1e9
"""No time of a clip lies behind it; numbers of a row may have thousands of digits."""
BOM = b"\xef\xbb\xbf"
"""What Windows writes before the first line."""
_MOST_LEVELS = 64
_FILE_KEYS = frozenset((*CLIP_KEYS, *PART_SOURCES, "videos", "audios", "images"))
_HALF, _HALF_NAMES = re.compile("[\0\ud800-\udfff]"), re.compile("[\0\ud800-\udc7f\udd00-\udfff]")


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


def name_from(folder: str | Path, file: str | Path) -> str:
    """The name of a file in rows that lie in a folder: relative where it is below it, else the whole path; links are not followed."""
    path, base = Path(os.path.abspath(file)), Path(os.path.abspath(folder))
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def speaking(kinds: Sequence[str]) -> int:
    """Number of the clip that words are heard in: the first sound, else the first of all."""
    return kinds.index("audio") if "audio" in kinds else 0


def lines_of(file: BinaryIO, most: int) -> Iterator[tuple[int, bytes, bool]]:
    """(where it begins, bytes, whether that is all of it) of each line; of one longer than `most` bytes only its beginning is held."""
    at = 0
    while line := file.readline(most + 1):
        start, whole = at, len(line) <= most
        at += len(line)
        rest = line
        while not whole and not rest.endswith(b"\n") and (rest := file.readline(most + 1)):
            at += len(rest)
        yield start, line, whole


def too_long(where: str, most: int) -> DatasetError:
    """What is said of a line of more bytes than a row may have."""
    return DatasetError(f"{where}: more than {most} bytes in one row;", remedy="keep clips and long texts in files of their own.")


def json_row(line: str | bytes, where: str, *, any_value: bool = False) -> dict[str, Any]:
    """Read one line.

    Args:
        line: the line.
        where: how errors call it.
        any_value: take whatever Python reads: rows that a program wrote, which nobody trains on.

    Raises:
        DatasetError: it is not a JSON object in UTF-8, or holds what no tokenizer, file or table takes: a key twice, NaN or an infinite
            number, a whole number of more than 64 bits, a NUL, half a surrogate pair, or more than 64 levels.
    """
    try:
        text = line.decode("utf-8") if isinstance(line, bytes) else line
        strictly: Any = {} if any_value else {"parse_constant": _refuse, "object_pairs_hook": _each_once}
        raw = json.loads(text.rstrip("\r\n"), **strictly)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: not JSON ({error});", remedy="write one JSON object a line, in UTF-8.") from error
    if not isinstance(raw, dict):
        raise DatasetError(f"{where}: {type(raw).__name__}, wanted an object;", remedy='write lines like {"id": "a", "path": "a.mp4"}.')
    if not any_value and (wrong := _unfit(raw)):
        raise DatasetError(f"{where}: {wrong};", remedy="write the row again without it.")
    return raw


def _refuse(word: str) -> None:
    """NaN, Infinity and -Infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{word} is no number of JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; which of two values of one key was meant, nobody knows."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} stands twice in an object")
    return found


def _unfit(row: dict[str, Any]) -> str:
    """What in a row nothing takes; "" where all is well."""
    waiting: list[tuple[Any, str, int]] = [(row, "", 1)]
    while waiting:
        value, key, depth = waiting.pop()
        if depth > _MOST_LEVELS:
            return f"more than {_MOST_LEVELS} levels of objects and lists"
        if isinstance(value, dict):
            waiting += [(name, "", depth) for name in value]
            waiting += [(inner, name, depth + 1) for name, inner in value.items() if inner is not None]
        elif isinstance(value, list):
            waiting += [(inner, key, depth + 1) for inner in value]
        elif isinstance(value, str):
            # Python writes bytes of a file's name that are no UTF-8 as halves from DC80 to DCFF, and reads them back.
            if wrong := (_HALF_NAMES if key in _FILE_KEYS else _HALF).search(value):
                found = "a NUL" if wrong[0] == "\0" else f"half a surrogate pair, {wrong[0]!a}"
                return f"{key or 'a key'} holds {found}"
        elif isinstance(value, float):
            if not math.isfinite(value):
                return f"{key} is a number too large for 64 bits"
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            return f"{key} is a whole number of more than 64 bits"
    return ""


def take_clips(fields: dict[str, Any], where: str) -> NamedClips:
    """Take files and span out of a row; `transcript` and `subtitles` are read and left there, since a prompt may show them.

    Raises:
        DatasetError: a file's name is none, a time is no number of seconds, the transcript is no text, or a subtitle no timed line.
    """
    files = tuple((key, name) for key in CLIP_KEYS for name in _names(fields.pop(key, None), key, where))
    if not files and are_parts(fields.get("media")):
        return _clips_of_parts(fields.pop("media"), where)
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
    except (TypeError, KeyError, ValueError, OverflowError):
        line = None
    if line is None or not isinstance(line.text, str) or not 0 <= line.start_s < line.end_s < math.inf:
        raise DatasetError(f"{where}: a subtitle is {raw!r:.80};", remedy='write {"start_s": 1.0, "end_s": 2.5, "text": "Hello."}.')
    return line


def are_parts(value: Any) -> bool:
    """Whether a row's `media` are clips as messages have them, not a label of that name."""
    return isinstance(value, list) and bool(value) and all(isinstance(p, dict) and str(p.get("type")) in PART_KINDS for p in value)


def _clips_of_parts(parts: list[dict[str, Any]], where: str) -> NamedClips:
    """Clips told one by one, as those of one row: of one span, none muted."""
    own = [{key: part.get(key) for key in ("start_s", "end_s", "mute")} for part in parts]
    if any(told != own[0] for told in own) or own[0]["mute"]:
        raise DatasetError(f"{where}: its clips have spans of their own, or are muted;", remedy="write a row for each of them.")
    each = [take_clips({**part, "path": part.get("path")} | dict.fromkeys(("video", "audio", "image")), where) for part in parts]
    files = tuple((PART_KINDS[p["type"]], name) for p, clips in zip(parts, each, strict=True) for _, name in clips.files)
    heard = each[speaking([key for key, _ in files])]
    return replace(each[0], files=files, transcript=heard.transcript, subtitles=heard.subtitles, words_from=heard.words_from)


def _names(value: Any, key: str, where: str) -> list[str]:
    """Names of no file, one or several."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{where}: {key} is {value!r};", remedy="give a file's name, or a list of them.")
    return names


def _seconds(value: Any, key: str, where: str) -> float | None:
    """A number of seconds, or None where the row has none."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST_S):
        return value
    raise DatasetError(f"{where}: {key} is {value!r};", remedy="a number of seconds from 0 on is wanted, or no such key.")
