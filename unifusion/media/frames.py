"""Pictures that were cut out of a video, put together again: sets that may not give out their videos give out these."""

from __future__ import annotations

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av

from unifusion.errors import MediaError

__all__ = ["frames_to_video"]


def frames_to_video(frames: Mapping[int, str | Path], rate_hz: int) -> bytes:
    """Return a video without sound whose pictures are the files' own bytes: nothing is decoded or made smaller.

    Args:
        frames: number of a picture, from 0 -> its JPEG file; it is shown from number / rate_hz seconds on. All have one size.
        rate_hz: pictures a second that were cut out.

    Returns:
        Motion JPEG in a QuickTime file; the same files give the same bytes.

    Raises:
        MediaError: there is no picture, or one is no JPEG.
    """
    if not frames:
        raise MediaError("a video of no pictures;", remedy="give the folder its frames were unpacked in.")
    numbers = sorted(frames)
    made = io.BytesIO()
    with av.open(made, "w", format="mov", options={"fflags": "+bitexact"}) as target:  # no date and no version in the file
        stream = _like(target, Path(frames[numbers[0]]))
        for place, number in enumerate(numbers):
            packet = av.Packet(_jpeg(Path(frames[number])))
            packet.stream, packet.is_keyframe, packet.time_base = stream, True, Fraction(1, rate_hz)
            packet.pts = packet.dts = number
            packet.duration = (numbers[place + 1] if place + 1 < len(numbers) else number + 1) - number
            target.mux(packet)
    return made.getvalue()


def _jpeg(path: Path) -> bytes:
    """The bytes of a picture."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror};", remedy="unpack the frames again.") from error
    if not data.startswith(b"\xff\xd8\xff"):
        raise MediaError(f"{path}: no JPEG;", remedy="unpack the frames again.")
    return data


def _like(target: av.container.OutputContainer, path: Path) -> av.VideoStream:
    """A stream for pictures of the size and the kind of pixels of this one."""
    try:
        with av.open(io.BytesIO(_jpeg(path)), "r", format="jpeg_pipe") as source:
            picture = source.streams.video[0]
            if not picture.width:  # a JPEG that is cut off before its size opens all the same
                raise MediaError(f"{path}: a picture without a size;", remedy="unpack the frames again.")
            return target.add_stream_from_template(picture)
    except av.FFmpegError as error:
        raise MediaError(f"{path}: {error};", remedy="unpack the frames again.") from error
