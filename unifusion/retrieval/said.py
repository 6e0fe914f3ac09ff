"""What is said in a clip: words of a manifest, or a file beside the clip, and which of them fall into a window."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.subtitles import parse_subtitles

__all__ = ["BESIDE", "Said", "read_beside"]

BESIDE = (".srt", ".vtt", ".txt")
"""Endings of a file beside `X.mp4` that holds its words, the first that is there counts."""


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
    cues = tuple((line.start_s, line.end_s, line.text) for line in parse_subtitles(text, name=str(path)))
    if not cues:
        raise MediaError(f"{path}: subtitles without a cue;", remedy="cues begin with a line like 00:00:01,000 --> 00:00:02,500.")
    return Said(cues=cues)
