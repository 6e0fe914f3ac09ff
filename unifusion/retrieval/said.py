"""What is said in a clip: words of a manifest, or a file beside the clip, and which of them fall into a window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits

__all__ = ["BESIDE", "Said", "read_beside"]

BESIDE = (".srt", ".vtt", ".txt")
"""Endings of a file beside `X.mp4` that holds its words, the first that is there counts."""
_STAMP = r"(?:(\d{1,3}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_STAMP}\s*-->\s*{_STAMP}")
_MARKUP = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


@dataclass(frozen=True, kw_only=True)
class Said:
    """Words of a clip.

    Attributes:
        cues: (start_s, end_s, words) in the file's time, where somebody has told when.
        text: all of the words, where nobody has.
    """

    cues: tuple[tuple[float, float, str], ...] = ()
    text: str = ""

    @property
    def whole(self) -> str:
        """All of the words."""
        return self.text or " ".join(words for _, _, words in self.cues)

    def within(self, start_s: float, end_s: float, clip_s: tuple[float, float]) -> str | None:
        """Words of a window, None where it has none.

        A cue belongs to each window that half of it lies in, or that it fills by half. Words without times are taken to be spread
        evenly over the clip, as streams that read text take them.

        Args:
            start_s, end_s: the window.
            clip_s: span of the clip in the file.
        """
        if self.cues:
            inside = [words for a, b, words in self.cues if min(b, end_s) - max(a, start_s) >= 0.5 * min(b - a, end_s - start_s) - 1e-9]
            return " ".join(inside) or None
        if end_s <= start_s or (start_s <= clip_s[0] and end_s >= clip_s[1]):
            return self.text or None
        words = self.text.split()
        step_s = (clip_s[1] - clip_s[0]) / max(1, len(words))
        return " ".join(w for n, w in enumerate(words) if start_s <= clip_s[0] + (n + 0.5) * step_s < end_s) or None


def read_beside(path: Path, limits: Limits) -> Said:
    """Read a file of words: subtitles with times (.srt, .vtt) or plain text.

    Raises:
        MediaError: it is no UTF-8, too long, or subtitles without a cue.
    """
    remedy = f"write {path.name} in UTF-8, or take it away."
    try:
        with path.open("rb") as file:
            data = file.read(4 * limits.max_text_chars + 1)
        if len(data) > 4 * limits.max_text_chars:
            raise LimitError(f"{path}: words of more than {4 * limits.max_text_chars} bytes;", remedy="shorten it, or take it away.")
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{path}: words that cannot be read ({error});", remedy=remedy) from error
    if path.suffix.lower() == ".txt":
        return Said(text=" ".join(text.split()))
    cues = tuple(_cues(text))
    if not cues:
        raise MediaError(f"{path}: subtitles without a cue;", remedy="cues begin with a line like 00:00:01,000 --> 00:00:02,500.")
    return Said(cues=cues)


def _cues(text: str) -> list[tuple[float, float, str]]:
    """The cues of subtitles, without markup; those without words are left out."""
    cues: list[tuple[float, float, str]] = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.split("\n")
        at = next((n for n, line in enumerate(lines) if _TIMES.match(line)), None)
        if at is None:
            continue
        match = _TIMES.match(lines[at])
        parts = match.groups() if match else ()
        start_s, end_s = _seconds(parts[:4]), _seconds(parts[4:])
        words = " ".join(_MARKUP.sub(" ", " ".join(lines[at + 1 :])).split())
        if words and end_s > start_s:
            cues.append((start_s, end_s, words))
    return cues


def _seconds(parts: tuple[str | None, ...]) -> float:
    """Hours (or none), minutes, seconds and their fraction as seconds."""
    hours, minutes, seconds, fraction = parts
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0) + float(f"0.{fraction}")
