"""How long a row is to a model, before it is opened: rows of like length are asked together, so that little is padded."""

from __future__ import annotations

from functools import lru_cache

from unifusion.conversation import Altered, Clip, Example, Media, Mix
from unifusion.errors import UniFusionError

__all__ = ["length_of", "seconds_of"]


def length_of(row: Example) -> tuple[float, int]:
    """Seconds of its clips, and characters of its texts."""
    shown = sum(len(str(row.texts.get(key, ""))) for key in ("question", "text")) + sum(map(len, map(str, row.labels.get("options") or ())))
    return round(sum(seconds_of(m) for m in row.media), 1), shown


def seconds_of(media: Media) -> float:
    """Length of the span of a clip by its header; 0 where it cannot be read or has none."""
    whole = _whole(media.source)
    start = media.start_s or 0.0
    end = whole if media.end_s is None else min(media.end_s, whole) if whole else media.end_s
    return max(0.0, end - start)


def _whole(source: object) -> float:
    """Seconds of a source."""
    if isinstance(source, Clip):
        return source.duration_s
    if isinstance(source, Mix):
        return max((seconds_of(m) for m in (source.voice, source.background) if m is not None), default=3.0)
    if isinstance(source, Altered):
        return seconds_of(source.base)
    return _of_file(source if isinstance(source, bytes) else str(source))


@lru_cache(maxsize=1 << 16)
def _of_file(source: str | bytes) -> float:
    """Seconds of a file, or of a clip of clip world."""
    if isinstance(source, str) and source.startswith("clip-world://"):
        from unifusion.world.render import parse_reference

        return parse_reference(source).duration_s
    from unifusion.media import probe

    try:
        return probe(source).duration_s or 0.0
    except UniFusionError:
        return 0.0
