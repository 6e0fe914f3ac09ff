"""The parts of one pass -> a Clip with notes that say what is missing and why."""

from __future__ import annotations

import math
from typing import Any

from unifusion.conversation import Clip
from unifusion.errors import MediaError
from unifusion.media.picture import Picture
from unifusion.media.reader import Pass, Span
from unifusion.media.source import Source

__all__ = ["still_clip", "stream_clip"]

_SHORT_S = 0.25
"""A span or file that is shorter than it should be by more than this is said so."""
_HONEST_HEADERS = ("mov", "matroska", "avi", "wav", "flac")
"""Containers whose declared length is counted; others estimate it from the bit rate."""


def still_clip(source: Source, span: Span, picture: Picture | None) -> Clip:
    """Return the clip of a picture file."""
    notes = [] if picture is None else list(picture.notes)
    if span.audio:
        notes.append("the file has no sound: it is a picture")
    if picture is not None and not len(picture.frames_THWC):
        found = f"the span begins at {span.start_s:g} s, the animation ends at {picture.end_s:g} s"
        raise MediaError(f"{source.name}: {found};", remedy="give an earlier span.")
    end_s = 0.0 if picture is None else min(picture.end_s, span.end_s)
    return Clip(**_frames(picture, span), duration_s=max(0.0, end_s - span.start_s), start_s=span.start_s, notes=tuple(notes))


def stream_clip(result: Pass, span: Span, picture: Picture | None) -> Clip:
    """Return the clip of a file with streams.

    Raises:
        MediaError: a stream that was asked for is in the file, but nothing of it could be had.
    """
    waveform_N, waveform_start_s = result.sound.finish() if result.sound is not None else (None, 0.0)
    seen = picture is not None and len(picture.frames_THWC) > 0
    ends = [picture.end_s] if picture is not None and seen else []
    if waveform_N is not None:
        ends.append(span.start_s + waveform_start_s + len(waveform_N) / span.rate_hz)
    if not ends and (result.index is not None or result.sound is not None):
        raise _nothing(result, span)
    end_s = min(span.end_s, max(ends, default=span.start_s))
    notes = [*result.notes, *(picture.notes if picture is not None else []), *(result.sound.notes if result.sound is not None else [])]
    notes += _absent(result, span, seen, waveform_N is not None) + _damage(result) + _short(result, span, end_s)
    return Clip(
        **_frames(picture, span),
        waveform_N=waveform_N,
        sampling_rate_hz=span.rate_hz,
        waveform_start_s=waveform_start_s,
        duration_s=max(0.0, end_s - span.start_s),
        start_s=span.start_s,
        notes=tuple(dict.fromkeys(notes)),
    )


def _frames(picture: Picture | None, span: Span) -> dict[str, Any]:
    """The picture's fields of a Clip; none where there is no frame."""
    if picture is None or not len(picture.frames_THWC):
        return {}
    times_T = (picture.times_T - span.start_s).clip(min=0.0)  # a frame already on screen when the span begins: 0
    return {"frames_THWC": picture.frames_THWC, "frame_times_s": times_T, "corrupt_T": picture.corrupt_T}


def _nothing(result: Pass, span: Span) -> MediaError:
    """Why streams that exist gave nothing."""
    name = result.opened.info.name
    if span.start_s > 0:
        length = result.opened.info.duration_s
        known = f"the file is {length:.2f} s long" if length is not None else "the file ends before"
        return MediaError(f"{name}: nothing from {span.start_s:g} s on, {known};", remedy="give an earlier span.")
    if math.isfinite(span.end_s):
        return MediaError(f"{name}: nothing from {span.start_s:g} to {span.end_s:g} s;", remedy="give a longer span, or another file.")
    return MediaError(f"{name}: its streams hold no picture and no sound that can be decoded;", remedy="give another file.")


def _absent(result: Pass, span: Span, seen: bool, heard: bool) -> list[str]:
    """Which streams were asked for and are not there."""
    notes = []
    if span.video and result.opened.video is None:
        notes.append("the file has no picture")
    elif span.video and not seen:
        notes.append("no picture in this span")
    if span.audio and result.opened.audio is None:
        notes.append("the file has no sound")
    elif span.audio and not heard:
        notes.append("no sound in this span")
    return notes


def _damage(result: Pass) -> list[str]:
    """What lenient reading stepped over."""
    notes = []
    if result.bad_packets:
        notes.append(f"{result.bad_packets} packets of the file are damaged or cut off")
    if result.bad_sound:
        notes.append(f"{result.bad_sound} packets of the sound could not be decoded")
    return notes


def _short(result: Pass, span: Span, end_s: float) -> list[str]:
    """A span that reaches past the file, or a file shorter than its header says."""
    notes, info = [], result.opened.info
    if math.isfinite(span.end_s) and end_s < span.end_s - _SHORT_S:
        notes.append(f"{end_s - span.start_s:.2f} s of picture and sound in the span of {span.end_s - span.start_s:.2f} s")
    length = info.duration_s
    if result.at_end and length is not None and info.container in _HONEST_HEADERS and result.end_s < length - max(_SHORT_S, 0.02 * length):
        whole = (info.has_video <= span.video) and (info.has_audio <= span.audio)
        if whole:  # a stream that was not read may be the longer one
            notes.append(f"the file ends at {result.end_s:.2f} s, its header says {length:.2f} s: it may be cut off")
    return notes
