"""Open a container so that FFmpeg reads this file and nothing else, pick its streams, hold it to the limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, cast

import av
import av.error

from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.info import MediaInfo
from unifusion.media.remedies import CONVERT, SHORTER
from unifusion.media.source import Source

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

__all__ = ["STRICT", "Opened", "codec_options", "open_container", "typed_errors"]

STRICT = {"err_detect": "crccheck+bitstream+buffer+explode"}
"""Damage is an error: by default FFmpeg returned wrong pictures for 28 of 60 damaged files.

Without `ec=0`: with it FFmpeg marks every healthy H.264 frame of several slices as corrupt (all that x264 cuts into slices, 144 rows
and more), and it caught none of 500 mutated clips that this does not; what is concealed carries the corrupt mark all the same.
"""
_GEN_PTS = 1
"""AVFMT_FLAG_GENPTS, which PyAV sets."""
_FOREIGN = (av.error.FFmpegError, OSError, ValueError, LookupError, ArithmeticError, RuntimeError, EOFError, AssertionError)


@contextmanager
def typed_errors(name: str, doing: str, remedy: str = CONVERT) -> Iterator[None]:
    """Turn whatever a decoder raises into one MediaError that names the file."""
    try:
        yield
    except MemoryError as error:
        raise LimitError(f"{name}: {doing} needs more memory than there is;", remedy=SHORTER) from error
    except _FOREIGN as error:
        cause = getattr(error, "strerror", None) or str(error) or "no reason given"
        raise MediaError(f"{name}: {doing} failed ({type(error).__name__}: {cause});", remedy=remedy) from error


@dataclass(frozen=True)
class Opened:
    """An open container, its chosen streams, and what its header says."""

    source: Source
    container: InputContainer
    video: VideoStream | None
    audio: AudioStream | None
    info: MediaInfo

    @property
    def zero_s(self) -> float:
        """The container's own time that counts as 0."""
        return self.info.start_s


def codec_options(limits: Limits, strict: bool) -> dict[str, str]:
    """Return decoder options: the pixel bound again (headers lie), and strictness."""
    return {"max_pixels": str(limits.max_pixels), **(STRICT if strict else {})}


@contextmanager
def open_container(source: Source, limits: Limits, strict: bool) -> Iterator[Opened]:
    """Open a sniffed file with its demuxer forced and hold its header to the limits.

    Raises:
        MediaError: the header cannot be read.
        LimitError: the header declares more than a limit.
    """
    options = {"format_whitelist": source.kind.allowed, "protocol_whitelist": "file", **codec_options(limits, strict)}
    source.handle.seek(0)
    with typed_errors(source.name, "reading the header"):
        container = av.open(
            source.handle,
            "r",
            format=source.kind.demuxer,
            options=options,
            metadata_errors="replace",
            buffer_size=1 << 18,
            io_open=_refuse_other_files,
        )
    try:
        with typed_errors(source.name, "reading the header"):
            # Made-up pts come out in the wrong order for AVI with packed B frames; where pts are missing dts are used.
            container.flags &= ~_GEN_PTS
            opened = _describe(source, container)
        _hold_to_limits(opened, limits)
        yield opened
    finally:
        container.close()


def _refuse_other_files(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    """FFmpeg asks for a second file: never."""
    raise PermissionError(f"the file refers to another file or address, {url!r}")


def _describe(source: Source, container: InputContainer) -> Opened:
    """Choose the streams as the ffmpeg command would and gather the header."""
    video = _best_video(container)
    audio = cast("AudioStream | None", container.streams.best("audio", related=video))
    starts = [_seconds(s.start_time, s) for s in (video, audio) if s is not None]
    known = [t for t in starts if t is not None]
    zero = min(known) if known else 0.0
    rate = video.average_rate if video is not None else None
    info = MediaInfo(
        name=source.name,
        container=source.kind.name,
        n_bytes=source.n_bytes,
        n_streams=len(container.streams),
        duration_s=_duration(container, video, audio, zero),
        start_s=zero,
        has_video=video is not None,
        width=video.codec_context.width if video is not None else 0,
        height=video.codec_context.height if video is not None else 0,
        rate_hz=float(rate) if rate else None,
        video_codec=video.codec_context.name if video is not None else "",
        video_start_s=(_seconds(video.start_time, video) or zero) - zero if video is not None else 0.0,
        has_audio=audio is not None,
        sampling_rate_hz=audio.codec_context.sample_rate if audio is not None else 0,
        channels=audio.codec_context.channels if audio is not None else 0,
        audio_codec=audio.codec_context.name if audio is not None else "",
        audio_start_s=(_seconds(audio.start_time, audio) or zero) - zero if audio is not None else 0.0,
    )
    return Opened(source, container, video, audio, info)


def _best_video(container: InputContainer) -> VideoStream | None:
    """FFmpeg's choice (the largest), unless that is cover art."""
    best = cast("VideoStream | None", container.streams.best("video"))
    if best is not None and _is_picture(best):
        return best
    return next((s for s in container.streams.video if _is_picture(s)), None)


def _is_picture(stream: VideoStream) -> bool:
    """A real picture track with a decoder, not the cover art of a song."""
    return stream.codec_context is not None and not stream.disposition & av.stream.Disposition.attached_pic


def _seconds(value: int | None, stream: Stream) -> float | None:
    """Stream ticks to seconds."""
    return None if value is None or stream.time_base is None else float(value * stream.time_base)


def _duration(container: InputContainer, video: Stream | None, audio: Stream | None, zero: float) -> float | None:
    """The longest of the chosen streams, else the container's figure (which counts subtitles and strangers too)."""
    ends = []
    for stream in (video, audio):
        length = _seconds(stream.duration, stream) if stream is not None else None
        if stream is not None and length is not None:
            ends.append((_seconds(stream.start_time, stream) or zero) + length - zero)
    if not ends and container.duration is not None:
        ends.append(container.duration / 1_000_000)
    return max(ends) if ends else None


def _hold_to_limits(opened: Opened, limits: Limits) -> None:
    """Compare the header with the limits, before anything is decoded."""
    info = opened.info
    if not info.has_video and not info.has_audio:
        found = f"{info.n_streams} streams, none of them picture or sound that can be decoded"
        raise MediaError(f"{info.name}: {found};", remedy="give a clip.")
    length = info.duration_s
    if length is not None and length < 0:
        raise MediaError(f"{info.name}: the header says {length:.3f} s long;", remedy="the header is damaged: remux the file.")
    declared = opened.video.frames if opened.video is not None else 0
    frames = max(declared, int((length or 0.0) * (info.rate_hz or 0.0)))
    # One frame of one tick is a still: its rate by the header is the clock's. Matroska's rate is a mere claim (remuxers write
    # the clock's), so there the frames themselves are counted while reading.
    rate = info.rate_hz if info.rate_hz is not None and declared != 1 and info.container != "matroska" else 0.0
    checks = (
        (info.n_streams, limits.max_streams, "streams", "max_streams"),
        (length or 0.0, limits.max_seconds, "seconds", "max_seconds"),
        (max(info.width, 0) * max(info.height, 0), limits.max_pixels, f"pixels a frame ({info.width}x{info.height})", "max_pixels"),
        (frames, limits.max_frames, "frames", "max_frames"),
        (rate, limits.max_rate_hz, "frames per second", "max_rate_hz"),
    )
    for value, most, what, field in checks:
        if value > most:
            remedy = f"make it smaller or raise limits.{field}."
            raise LimitError(f"{info.name}: {value:.10g} {what}, at most {most:.10g} are read;", remedy=remedy)
