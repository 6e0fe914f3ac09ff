"""Timed lines from the subtitle streams that a clip itself carries (mkv, mp4, webm): SubRip, WebVTT, mov_text and ASS.

Streams of pictures of letters (DVD, Blu-ray) hold no text and are passed over.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unifusion.conversation import Line
from unifusion.errors import LimitError
from unifusion.limits import Limits
from unifusion.media.container import open_container, typed_errors
from unifusion.media.source import open_source
from unifusion.media.subtitles import plain_text

if TYPE_CHECKING:
    from av.packet import Packet
    from av.subtitles.stream import SubtitleStream

    from unifusion.media.container import Opened

__all__ = ["embedded_lines"]

log = logging.getLogger(__name__)
_TEXT = ("subrip", "srt", "webvtt", "mov_text", "text", "ass", "ssa")
"""FFmpeg's names of codecs of text."""
_ASS_FIELDS = 8
"""Commas before the text of an ASS event as FFmpeg's decoders hand it out: order, layer, style, name, three margins, effect."""


def embedded_lines(source: str | Path | bytes, *, language: str = "", limits: Limits = Limits()) -> list[Line]:
    """Read the subtitle stream of a clip: of `language` (as the file spells it: `eng`), else the default one, else the first.

    Returns:
        Lines by start, times from where the file's picture or sound begins; empty where no stream holds text.

    Raises:
        MediaError: the file is no clip, or the stream cannot be read.
        LimitError: more characters than `limits.max_text_chars` for each of the hours that may be read.
    """
    with open_source(source, limits) as opened_source:
        if opened_source.kind.is_image:
            return []
        with open_container(opened_source, limits, strict=False) as opened:
            stream = _chosen(opened, language)
            if stream is None:
                return []
            with typed_errors(opened.info.name, "reading the subtitles"):
                return sorted(_lines(opened, stream, limits), key=lambda line: (line.start_s, line.end_s))


def _chosen(opened: Opened, language: str) -> SubtitleStream | None:
    """The stream that is read."""
    import av.stream

    texts = [s for s in opened.container.streams.subtitles if s.codec_context is not None and s.codec_context.name in _TEXT]
    wanted = [s for s in texts if language and s.language == language]
    default = [s for s in texts if s.disposition & av.stream.Disposition.default]
    if language and texts and not wanted:
        log.warning("%s: no subtitles in %s (there are %s)", opened.info.name, language, ", ".join(str(s.language) for s in texts))
    return next(iter([*wanted, *default, *texts]), None)


def _lines(opened: Opened, stream: SubtitleStream, limits: Limits) -> list[Line]:
    """Every packet of the stream that holds words."""
    lines, length = [], 0
    for packet in opened.container.demux(stream):
        if packet.pts is None or not packet.duration or packet.time_base is None:
            continue
        start_s = round(float(packet.pts * packet.time_base) - opened.info.start_s, 3)
        text = _text(packet)
        length += len(text)
        if length > limits.max_text_chars * max(1.0, limits.max_seconds / 3600):
            raise LimitError(f"{opened.info.name}: subtitles of more than {length} characters;", remedy="are they subtitles?")
        if text and start_s + float(packet.duration * packet.time_base) > max(start_s, 0.0):
            lines.append(Line(max(start_s, 0.0), round(start_s + float(packet.duration * packet.time_base), 3), text))
    return lines


def _text(packet: Packet[Any]) -> str:
    """The words of a packet, without ASS's fields and tags."""
    events = [bytes(found) for rect in packet.decode() if (found := getattr(rect, "ass", b""))]
    rows = [event.decode("utf-8", "replace").split(",", _ASS_FIELDS)[-1] for event in events]
    return plain_text(" ".join(rows))
