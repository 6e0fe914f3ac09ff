"""Optional back ends for the picture: decord and torchcodec, held to the files where they give the right frames.

PyAV's index of the span decides which frames are wanted; the other library only decodes those. What was measured: decord and
torchcodec give wrong frames for MPEG-TS and for mp4 with an edit list, and neither can say that a frame is damaged.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from unifusion.errors import ConfigError, MediaError
from unifusion.limits import Limits
from unifusion.media.container import typed_errors
from unifusion.media.painter import scaled
from unifusion.media.picture import Picture, bound_frames
from unifusion.media.reader import Pass, Span
from unifusion.media.sampling import Sampling

__all__ = ["FrameSource", "decode_elsewhere"]

FrameSource = Callable[[str | io.BytesIO, list[int], tuple[int, int]], tuple[np.ndarray, np.ndarray]]
"""(path or bytes, ordinals in order of presentation, (width, height) before rotation) -> frames (T,H,W,3), times (T,)."""
_CONTAINERS = ("mov", "matroska")
_APART_S = 0.02


def decode_elsewhere(
    backend: str, source: str | Path | bytes, result: Pass, sampling: Sampling, span: Span, limits: Limits, strict: bool
) -> Picture | None:
    """Decode the frames that `sampling` wants with another library.

    Raises:
        ConfigError: the library is missing, is no back end, or is not to be trusted with this file or with strict reading.
        MediaError: it fails, or gives frames of other times than the file's.
    """
    frames_of = _load(backend)
    name, index, video = result.opened.info.name, result.index, result.opened.video
    if index is None or video is None:
        return None
    order = index.shown()
    _refuse_unfit(backend, result, strict)
    if not order:
        return None
    times_T, end_s = index.times(order)
    indices, notes = sampling.choose(times_T, end_s, (span.start_s, span.end_s))
    size = (video.codec_context.width, video.codec_context.height)
    bound_frames(name, len(indices), size, sampling, limits)
    chosen, inverse = np.unique(indices, return_inverse=True)
    if not len(chosen):
        return Picture(np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0), np.zeros(0, bool), end_s, notes)
    ordinals = [index.frames_before + int(i) for i in chosen]
    handle = io.BytesIO(source) if isinstance(source, bytes) else str(Path(source).resolve())
    with typed_errors(name, f"decoding the picture with {backend}"):
        frames, stamps = frames_of(handle, ordinals, scaled(*size, sampling.max_side_px))
    # decord counts from the first frame, torchcodec from the container's zero.
    clocks = (result.opened.zero_s, -result.opened.info.video_start_s)
    apart = min(float(np.abs(stamps - zero_s - times_T[chosen]).max()) for zero_s in clocks)
    if apart > _APART_S:
        raise MediaError(f"{name}: {backend} gave frames {apart:.3f} s from the wanted times;", remedy='use backend="pyav".')
    notes.append(f"picture decoded by {backend}, which cannot tell damaged frames")
    return Picture(frames[inverse], times_T[indices], np.zeros(len(indices), bool), end_s, notes)


def _load(backend: str) -> FrameSource:
    """Import a back end's file."""
    if backend == "decord":
        from unifusion.media.with_decord import frames
    elif backend == "torchcodec":
        from unifusion.media.with_torchcodec import frames
    else:
        raise ConfigError(f"no back end {backend!r};", remedy="there are pyav, decord and torchcodec.")
    return frames


def _refuse_unfit(backend: str, result: Pass, strict: bool) -> None:
    """Refuse files this back end gets wrong."""
    info, index = result.opened.info, result.index
    if strict:
        raise ConfigError(f"{backend} cannot tell a damaged frame;", remedy='pass strict=False, or use backend="pyav".')
    if info.container not in _CONTAINERS:
        raise ConfigError(f"{info.name}: {backend} gives wrong frames for {info.container};", remedy='use backend="pyav".')
    if index is not None and backend == "decord" and index.open_groups:
        raise ConfigError(f"{info.name}: decord gives wrong frames for open groups of pictures;", remedy='use backend="pyav".')
    if index is not None and (index.hides or index.counted or index.dropped_s > 0.0):
        found = f"{backend} may give wrong frames for a file with an edit list, missing stamps or a missing key frame"
        raise ConfigError(f"{info.name}: {found};", remedy='use backend="pyav".')
