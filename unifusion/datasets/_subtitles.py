"""Subtitles of clips, as readers show them: timed lines, all of them or those of a span."""

from __future__ import annotations

from pathlib import Path

__all__ = ["subtitles"]


def subtitles(path: Path, span: tuple[float, float] | None = None) -> tuple[dict[str, float | str], ...]:
    """Lines of an srt or vtt file as `labels["subtitles"]` has them, with the file's times.

    Args:
        path: the file.
        span: seconds; lines that are not said within them are left out. None takes all.

    Raises:
        MediaError: the file cannot be read.
    """
    from unifusion.media.subtitles import as_rows, read_subtitles

    lines = read_subtitles(path)
    return as_rows(lines if span is None else [line for line in lines if line.start_s < span[1] and line.end_s > span[0]])
