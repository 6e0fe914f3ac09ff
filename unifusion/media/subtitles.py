"""Timed lines from subtitles: SubRip (`.srt`) and WebVTT (`.vtt`), as they are found in the wild.

Which of the two a file is follows from its first line, never from its name. What files have that the formats do not allow and people
have all the same: a byte order mark, cp1252, lines without a number, without hours or in no order, overlaps, blank lines within a text.
WebVTT: https://www.w3.org/TR/webvtt1/. SubRip has no standard.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from unifusion.conversation import Line
from unifusion.errors import LimitError, MediaError

__all__ = ["MAX_BYTES", "Line", "as_rows", "parse_subtitles", "plain_text", "read_subtitles", "said_between"]

log = logging.getLogger(__name__)

MAX_BYTES = 16 * 1024**2
"""A day of speech is 1 MB."""
_TIME = r"(-?)(?:(\d{1,4}):)?(\d{1,3}):(\d{1,2})(?:[.,:](\d{1,3}))?"
_TIMING = re.compile(rf"^[ \t]*{_TIME}[ \t]*-{{1,2}}>[ \t]*{_TIME}(?=[ \t]|$)")
_CLOCKED = re.compile(r"<\d{1,4}:\d{2}[\d:.]*>")
_TAG = re.compile(r"</?(?:i|b|u|s|c|v|font|lang|ruby|rt)(?:[.\s][^<>]*)?/?>|<\d{1,4}:\d{2}[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE)
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&lrm;": "", "&rlm;": "", "&quot;": '"', "&#39;": "'"}
_ENTITY = re.compile("|".join(map(re.escape, _ENTITIES)))
_Cue = tuple[float, float, list[str]]


def read_subtitles(path: str | Path) -> list[Line]:
    """Read an srt or vtt file.

    Args:
        path: the file. UTF-8, or UTF-16 with a byte order mark; what is neither is read as cp1252, and the log says so.

    Returns:
        Its lines by start; tags, positions, speakers' names in tags, notes and styles are gone, a text of several rows is joined by
        spaces. Lines may overlap.

    Raises:
        MediaError: no such file, or text in which no line has times.
        LimitError: above `MAX_BYTES`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise MediaError(f"{path}: no such file of subtitles;", remedy="give the path of an srt or vtt file.")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise LimitError(f"{path}: {size} bytes, at most {MAX_BYTES} of subtitles are read;", remedy="is it an srt or vtt file?")
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror});", remedy="give the path of a readable srt or vtt file.") from error
    return parse_subtitles(_decoded(data, str(path)), name=str(path))


def parse_subtitles(text: str, *, name: str = "subtitles") -> list[Line]:
    """Read the text of an srt or vtt file; `name` is what messages call it. See `read_subtitles`.

    Raises:
        MediaError: there is text, and no line has times.
    """
    rows = re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff"))
    is_vtt = rows[0].split(maxsplit=1)[:1] == ["WEBVTT"]
    cues = list(_vtt_cues(rows) if is_vtt else _srt_cues(rows))
    if not cues and any(row.strip() for row in rows[is_vtt:]) and not is_vtt:
        raise MediaError(f"{name}: no line with times in it;", remedy="wanted srt or vtt, with lines like 00:00:01,000 --> 00:00:02,500.")
    if is_vtt and _CLOCKED.search(text):
        cues = _unrolled(cues)
    lines = [Line(start, end, said) for start, end, texts in cues if (said := plain_text(" ".join(texts))) and end > start >= 0]
    backwards = sum(end <= start or start < 0 for start, end, _ in cues)
    if backwards:
        log.warning("%s: %d of %d lines end before they start, or start before 0, and are left out", name, backwards, len(cues))
    return sorted(lines, key=lambda line: (line.start_s, line.end_s))


def said_between(lines: Sequence[Line], start_s: float, end_s: float) -> str:
    """The words of a span, joined by spaces: those lines whose middle lies in [start_s, end_s).

    So each line belongs to exactly one of the spans that a clip is cut into, and none is cut through.
    """
    return " ".join(line.text for line in lines if start_s <= (line.start_s + line.end_s) / 2 < end_s)


def as_rows(lines: Sequence[Line]) -> tuple[dict[str, float | str], ...]:
    """Lines as `labels["subtitles"]` and JSON have them: `{"start_s", "end_s", "text"}`."""
    return tuple(asdict(line) for line in lines)


def plain_text(text: str) -> str:
    """Words without tags (`<i>`, `<v Ann>`, `{\\an8}`), entities and line breaks; other brackets are words and stay."""
    text = _TAG.sub("", text.replace("\\N", " ").replace("\\h", " "))
    return " ".join(_ENTITY.sub(lambda found: _ENTITIES[found[0]], text).split())


def _decoded(data: bytes, name: str) -> str:
    """Bytes to text."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if b"\0" in data:
            raise MediaError(f"{name}: not text;", remedy="give an srt or vtt file in UTF-8.") from None
        log.warning("%s: not UTF-8, read as cp1252", name)
        return data.decode("cp1252", errors="replace")


def _seconds(sign: str, hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    """Time stamp to seconds; a fraction has as many digits as somebody wrote (",5" is half a second)."""
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    value: float = round(whole + int(fraction or 0) / float(10 ** len(fraction or "")), 3)
    return -value if sign else value


def _times(row: str) -> tuple[float, float] | None:
    """Start and end of a row that is a timing."""
    found = _TIMING.match(row)
    if found is None:
        return None
    parts = found.groups()
    return _seconds(*parts[:5]), _seconds(*parts[5:])


def _srt_cues(rows: list[str]) -> Iterator[_Cue]:
    """From one timing to the next: a text may hold blank rows. The row right before a timing is its number, if it is one."""
    places = [(k, times) for k, row in enumerate(rows) if (times := _times(row)) is not None]
    for number, (k, (start, end)) in enumerate(places, 1):
        after = places[number][0] if number < len(places) else len(rows)
        said = rows[k + 1 : after]
        if after < len(rows) and said and said[-1].strip().isdecimal():
            said = said[:-1]
        yield start, end, [row for row in said if row.strip()]


def _vtt_cues(rows: list[str]) -> Iterator[_Cue]:
    """Blocks between empty rows (one of spaces is not empty) that are no note, style or region; what stands before the times is a name."""
    block: list[str] = []
    for row in [*rows, ""]:
        if row:
            block.append(row)
            continue
        if block and block[0].split(maxsplit=1)[:1] not in (["NOTE"], ["STYLE"], ["REGION"]):
            yield from _srt_cues(block)
        block = []


def _unrolled(cues: list[_Cue]) -> list[_Cue]:
    """Captions that roll (YouTube's own, with a clock on each word) show each row twice: as it is said, and above the next one."""
    kept: list[_Cue] = []
    shown: list[str] = []
    for start, end, rows in cues:
        texts = [plain_text(row) for row in rows]
        fresh = [text for text in texts if text and text not in shown]
        if fresh:
            kept.append((start, end, fresh))
        shown = [text for text in texts if text]
    return kept
