"""Read a file's header."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av.error

from unifusion.limits import Limits
from unifusion.media.container import Opened, codec_options, open_container
from unifusion.media.info import MediaInfo
from unifusion.media.painter import orientation
from unifusion.media.source import open_source

__all__ = ["probe"]

_SEARCHED_PACKETS = 64


def probe(source: str | Path | bytes, *, limits: Limits = Limits(), isolate: bool = False) -> MediaInfo:
    """Return what the header of a file says, held to `limits`; at most a few frames are decoded, to learn the rotation.

    Args:
        source: path of a regular file, or its bytes.
        limits: bounds on size, length, pixels, frames, rate, streams.
        isolate: read it in a child process with a memory and a time limit.

    Raises:
        MediaError: not a clip, or a header that cannot be read; names the file.
        LimitError: the header declares more than a limit.
    """
    if isolate:
        from unifusion.media.isolate import probe_in_child

        return probe_in_child(source, limits)
    with open_source(source, limits) as opened_source:
        if opened_source.kind.is_image:
            from unifusion.media.still import describe_still

            return describe_still(opened_source, limits)
        with open_container(opened_source, limits, strict=False) as opened:
            turns = _rotation(opened, limits) if opened.video is not None else 0
            info = replace(opened.info, rotation=turns * 90)
            return replace(info, width=info.height, height=info.width) if turns % 2 else info


def _rotation(opened: Opened, limits: Limits) -> int:
    """Quarter turns of the first frame that can be decoded; 0 where none can (reading it will say why)."""
    if opened.video is None:
        return 0
    opened.video.codec_context.options = codec_options(limits, strict=False)
    try:
        for count, packet in enumerate(opened.container.demux(opened.video)):
            for frame in opened.video.codec_context.decode(packet if packet.size else None):
                return orientation(frame)[0]
            if count > _SEARCHED_PACKETS:
                break
    except (av.error.FFmpegError, ValueError, OSError, EOFError):
        return 0
    return 0
