"""The one call that reads a clip, and three thin names for parts of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

from unifusion.conversation import Clip
from unifusion.errors import ConfigError, LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.assemble import still_clip, stream_clip
from unifusion.media.container import typed_errors
from unifusion.media.picture import decode_picture
from unifusion.media.reader import Span, one_pass
from unifusion.media.sampling import Sampling
from unifusion.media.sound import SAMPLING_RATE_HZ
from unifusion.media.source import open_source

__all__ = ["Backend", "read_audio", "read_clip", "read_image", "read_video"]

Backend = Literal["pyav", "decord", "torchcodec"]
_LIMITS = Limits()


def read_clip(
    source: str | Path | bytes,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    video: Sampling | None,
    audio: bool,
    sampling_rate_hz: int = SAMPLING_RATE_HZ,
    limits: Limits = _LIMITS,
    strict: bool = True,
    isolate: bool = False,
    backend: Backend = "pyav",
) -> Clip:
    """Read picture and sound of one span in one pass over the file.

    What `strict` cannot see: video codecs have no checksums, so damage shows only where a stream stops making sense. Of clips
    with random damage, those refused against those that came out wrong without a word: H.264 95 to 100 of 100, MPEG-4 99,
    MPEG-2 all, AV1 97, MJPEG 97, VP9 87, HEVC 56 to 82, VP8 26.

    Args:
        source: path of a regular local file, or its bytes.
        start_s: start of the span in seconds from where the file's picture or sound begins; default 0.
        end_s: its end; default the end of the file.
        video: which frames, or None for no picture.
        audio: whether to read the sound.
        sampling_rate_hz: samples per second that it is resampled to.
        limits: bounds on the header and, again, on what is decoded.
        strict: a damaged frame or packet raises. False: what can be decoded comes back, `corrupt_T` flags frames that may
            be damaged and `notes` say so; a file that is whole gives the same result either way.
        isolate: decode in a child process with a memory and a time limit, killed at either.
        backend: who decodes the picture. "decord" and "torchcodec" cannot tell a damaged frame, so they want strict=False.

    Returns:
        The clip; times count from the start of the span (a frame on screen when it begins has time 0). A stream the file does
        not have is None, with a note.

    Raises:
        MediaError: the file cannot be decoded; names the file and the cause.
        LimitError: above one of `limits`.
        ConfigError: arguments that do not fit, or a back end that is missing or unfit for this file.
    """
    span = replace(_span(start_s, end_s, video, audio), rate_hz=sampling_rate_hz)
    if isolate:
        from unifusion.media.isolate import read_in_child

        return read_in_child(source, span, video, limits, strict, backend)
    try:
        return _read(source, span, video, limits, strict if backend != "pyav" else True, backend)
    except LimitError:
        raise
    except MediaError:
        if strict or backend != "pyav":
            raise
        return _read(source, span, video, limits, False, backend)


def read_video(
    source: str | Path | bytes, sampling: Sampling, *, start_s: float | None = None, end_s: float | None = None,
    limits: Limits = _LIMITS, strict: bool = True,
) -> Clip:  # fmt: skip
    """Read the picture only; see `read_clip`."""
    return read_clip(source, start_s=start_s, end_s=end_s, video=sampling, audio=False, limits=limits, strict=strict)


def read_audio(
    source: str | Path | bytes, *, start_s: float | None = None, end_s: float | None = None,
    limits: Limits = _LIMITS, strict: bool = True,
) -> Clip:  # fmt: skip
    """Read the sound only, 16 kHz mono; see `read_clip`."""
    return read_clip(source, start_s=start_s, end_s=end_s, video=None, audio=True, limits=limits, strict=strict)


def read_image(source: str | Path | bytes, *, max_side_px: int | None = None, limits: Limits = _LIMITS) -> Clip:
    """Read a still, or the first frame of an animation or clip: one frame at time 0; see `read_clip`."""
    return read_clip(source, video=Sampling(times_s=(0.0,), max_side_px=max_side_px), audio=False, limits=limits)


def _span(start_s: float | None, end_s: float | None, video: Sampling | None, audio: bool) -> Span:
    """Check the arguments."""
    start = 0.0 if start_s is None else float(start_s)
    end = math.inf if end_s is None else float(end_s)
    if not (math.isfinite(start) and start >= 0 and end > start):
        raise ConfigError(f"span {start_s!r} to {end_s!r} s;", remedy="start_s must be 0 or more and end_s larger than it.")
    if video is None and not audio:
        raise ConfigError("neither picture nor sound asked for;", remedy="give video=Sampling(..) or audio=True.")
    return Span(start, end, video is not None, audio)


def _read(source: str | Path | bytes, span: Span, video: Sampling | None, limits: Limits, strict: bool, backend: Backend) -> Clip:
    """One attempt in this process."""
    with open_source(source, limits) as opened:
        if opened.kind.is_image:
            from unifusion.media.still import read_still

            wanted = (span.start_s, span.end_s)
            return still_clip(opened, span, None if video is None else read_still(opened, video, wanted, limits, strict))
        with one_pass(opened, span, limits, strict, jump=backend == "pyav") as result:
            picture = None
            if video is not None and result.opened.video is not None and result.index is not None:
                if backend == "pyav":
                    with typed_errors(result.opened.info.name, "decoding the picture"):
                        picture = decode_picture(result.opened.video, result.index, video, (span.start_s, span.end_s), limits, strict)
                else:
                    from unifusion.media.other import decode_elsewhere

                    picture = decode_elsewhere(backend, source, result, video, span, limits, strict)
            return stream_clip(result, span, picture)
