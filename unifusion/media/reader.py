"""One pass over a container: sound is decoded as it comes, the picture's packets are kept for choosing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av.error

from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.container import Opened, codec_options, open_container, typed_errors
from unifusion.media.index import PictureIndex
from unifusion.media.matroska import Elements
from unifusion.media.remedies import LENIENT, SHORTER
from unifusion.media.sound import SAMPLING_RATE_HZ, Sound
from unifusion.media.source import Source
from unifusion.media.transport import Continuity

if TYPE_CHECKING:
    from av.packet import Packet
    from av.stream import Stream

__all__ = ["Pass", "Span", "one_pass"]

_PREROLL_S = 0.5
"""Sound decoded before the span, so that a codec's overlap (AAC, MP3, Opus: up to 80 ms) has settled."""
_LATE_S = 10.0
"""How much further one stream is read than the span, waiting for the other to end."""
_SEEK_FROM_S = 10.0
Chain = Elements | Continuity
_SEEKABLE = ("mov", "matroska")
"""Containers with an index; stamps found by seeking in MPEG-TS, MP3 and AVI cannot be trusted, so those are read through."""


@dataclass(frozen=True)
class Span:
    """What to read: seconds from the file's start (`end_s` may be infinite), which streams, and sound at how many samples a second."""

    start_s: float
    end_s: float
    video: bool
    audio: bool
    rate_hz: int = SAMPLING_RATE_HZ


@dataclass
class Pass:
    """What one pass gave."""

    opened: Opened
    index: PictureIndex | None
    sound: Sound | None
    end_s: float = 0.0
    """The last time seen, whatever the stream."""
    at_end: bool = False
    """Whether the file was read to its end."""
    notes: list[str] = field(default_factory=list)
    bad_packets: int = 0
    bad_sound: int = 0


@contextmanager
def one_pass(source: Source, span: Span, limits: Limits, strict: bool, jump: bool = True) -> Iterator[Pass]:
    """Read a span once; the container stays open inside the `with`, for decoding the kept packets.

    A jump to the span is checked (it must land before the span begins); where it does not, the file is read through.
    """
    with open_container(source, limits, strict) as opened:
        _check_length(opened, span, limits)
        chain = _chain(source, opened) if strict else None
        if jump and _jump(opened, span):
            result = _read(opened, span, limits, strict, chain, jumped=True)
            if _landed(result, span):
                yield result
                return
        else:
            yield _read(opened, span, limits, strict, chain, jumped=False)
            return
    with open_container(source, limits, strict) as opened:
        yield _read(opened, span, limits, strict, _chain(source, opened) if strict else None, jumped=False)


def _chain(source: Source, opened: Opened) -> Chain | None:
    """What can tell whether a demuxer skipped a part of the file."""
    if opened.info.container == "matroska":
        return Elements(source.handle)
    if opened.info.container == "mpegts":
        return Continuity(source.handle, [s.id for s in (opened.video, opened.audio) if s is not None])
    return None


def _check_length(opened: Opened, span: Span, limits: Limits) -> None:
    """Refuse a span that begins after the end or is too long by the header."""
    length, name = opened.info.duration_s, opened.info.name
    end = min(span.end_s, length) if length is not None else span.end_s
    if end != float("inf") and end - span.start_s > limits.max_span_seconds:
        length_s = end - span.start_s
        raise LimitError(f"{name}: {length_s:.1f} s to read, at most {limits.max_span_seconds:g} s at once;", remedy=SHORTER)


def _jump(opened: Opened, span: Span) -> bool:
    """Seek to shortly before the span where that pays and can be trusted."""
    if span.start_s < _SEEK_FROM_S or opened.info.container not in _SEEKABLE:
        return False
    stream = opened.video if span.video and opened.video is not None else opened.audio
    if stream is None or stream.time_base is None:
        return False
    target_s = opened.zero_s + span.start_s - 2 * _PREROLL_S
    try:
        opened.container.seek(int(target_s / stream.time_base), stream=stream, backward=True)
    except (av.error.FFmpegError, OSError):
        return False  # nothing was read yet: the position is still the start, or the sequential pass reopens
    return True


def _landed(result: Pass, span: Span) -> bool:
    """Whether a jump landed before the span in both streams."""
    index, sound = result.index, result.sound
    if index is not None and not (index.kept and index.kept[index.first].key and index.kept[index.first].time_s <= span.start_s):
        return False
    return sound is None or (sound.first_s is not None and sound.first_s <= span.start_s - 0.1)


def _read(opened: Opened, span: Span, limits: Limits, strict: bool, chain: Chain | None, jumped: bool) -> Pass:
    """Demux to the end of the span."""
    info = opened.info
    video = opened.video if span.video else None
    audio = opened.audio if span.audio else None
    index = sound = None
    if video is not None:
        index = PictureIndex(info.name, span.start_s, opened.zero_s, limits.decode_memory_bytes // 4, info.video_codec)
    if audio is not None:
        sound = Sound(info.name, start_s=span.start_s, end_s=span.end_s, max_s=limits.max_span_seconds, strict=strict, rate_hz=span.rate_hz)
        audio.codec_context.options = codec_options(limits, strict)
        audio.codec_context.thread_count = 1
    result = Pass(opened, index, sound)
    streams = [s for s in (video, audio) if s is not None]
    waiting = {s.index for s in streams}
    with typed_errors(info.name, f"reading {span.start_s:g} to {span.end_s:g} s", LENIENT):
        for packet in _packets(opened, streams, result, strict, chain):
            time_s = _time(packet, opened.zero_s)
            if time_s is not None:
                result.end_s = max(result.end_s, min(span.end_s, time_s + float((packet.duration or 0) * packet.time_base)))
                _check_running(info.name, time_s, span, limits)
            if video is not None and index is not None and packet.stream_index == video.index:
                index.add(packet, at_file_start=not jumped)
            elif sound is not None and (time_s is None or span.start_s - _PREROLL_S - 1.0 <= time_s < span.end_s):
                _hear(packet, sound, opened, result, strict)
            decoded_s = _time(packet, opened.zero_s, decoding=True)
            if decoded_s is not None and decoded_s >= span.end_s:
                waiting.discard(packet.stream_index)
            if not waiting or (decoded_s is not None and decoded_s >= span.end_s + _LATE_S):
                break
        else:
            result.at_end = True
        if sound is not None and audio is not None:
            _hear(None, sound, opened, result, strict)
    return result


def _packets(opened: Opened, streams: Sequence[Stream], result: Pass, strict: bool, chain: Chain | None) -> Iterator[Packet[Any]]:
    """Packets of the chosen streams; a demuxer's error ends them in lenient mode."""
    source = opened.container.demux(*streams)
    while True:
        try:
            packet = next(source)
        except StopIteration:
            if isinstance(chain, Continuity) and not chain.lead_to(opened.container.size):
                raise MediaError(f"{opened.info.name}: damaged or cut-off data at {result.end_s:.2f} s;", remedy=LENIENT) from None
            return
        except (av.error.FFmpegError, ValueError, OSError) as error:
            if strict:
                raise
            result.notes.append(f"reading stopped at {result.end_s:.2f} s: {getattr(error, 'strerror', None) or error}")
            return
        if packet.size == 0 and packet.pts is None and packet.dts is None:
            continue  # PyAV's sign that a stream has ended
        skipped = chain is not None and packet.pos is not None and packet.pos >= 0 and not chain.lead_to(packet.pos)
        if packet.is_corrupt or skipped:
            if strict:
                raise MediaError(f"{opened.info.name}: damaged or cut-off data at {result.end_s:.2f} s;", remedy=LENIENT)
            result.bad_packets += 1
        yield packet


def _time(packet: Packet[Any], zero_s: float, decoding: bool = False) -> float | None:
    """Presentation time (or decoding time, which never runs back) of a packet on the span's clock."""
    first, second = (packet.dts, packet.pts) if decoding else (packet.pts, packet.dts)
    ticks = first if first is not None else second
    return None if ticks is None or packet.time_base is None else float(ticks * packet.time_base) - zero_s


def _check_running(name: str, time_s: float, span: Span, limits: Limits) -> None:
    """The span's length again while reading: a header can lie or be silent."""
    if span.end_s == float("inf") and time_s - span.start_s > limits.max_span_seconds:
        raise LimitError(f"{name}: longer than {limits.max_span_seconds:g} s from {span.start_s:g} s on;", remedy=SHORTER)


def _hear(packet: Packet[Any] | None, sound: Sound, opened: Opened, result: Pass, strict: bool) -> None:
    """Decode one packet of sound (None: what the decoder still holds)."""
    if opened.audio is None:
        return
    if packet is not None and packet.pts is not None and packet.duration and opened.info.container == "mov":
        sound.until_s = max(sound.until_s or 0.0, float((packet.pts + packet.duration) * packet.time_base) - opened.zero_s)
    try:
        frames = opened.audio.codec_context.decode(packet)
    except (av.error.FFmpegError, ValueError, OSError):
        if strict:
            raise
        result.bad_sound += 1
        return
    for frame in frames:
        time_s = None if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base) - opened.zero_s
        sound.add(frame, time_s)
