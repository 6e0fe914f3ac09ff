"""Chosen frames out of an index of packets: which, and assembled as one array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from unifusion.errors import LimitError, MediaError
from unifusion.media.decoder import Damage, Decoder
from unifusion.media.index import PictureIndex
from unifusion.media.painter import scaled
from unifusion.media.remedies import CONVERT, FEWER
from unifusion.media.sampling import Sampling

if TYPE_CHECKING:
    from av.video.stream import VideoStream

    from unifusion.limits import Limits

__all__ = ["Picture", "bound_frames", "decode_picture"]


@dataclass(frozen=True)
class Picture:
    """Frames (T,H,W,3) uint8 RGB, times (T,) on the span's clock, damage (T,), when the picture ends, notes."""

    frames_THWC: np.ndarray
    times_T: np.ndarray
    corrupt_T: np.ndarray
    end_s: float
    notes: list[str] = field(default_factory=list)


def decode_picture(
    stream: VideoStream, index: PictureIndex, sampling: Sampling, span: tuple[float, float], limits: Limits, strict: bool
) -> Picture | None:
    """Decode the frames that `sampling` wants.

    Args:
        stream: the stream whose decoder is used; its container has been read to the end of the span.
        index: the packets of the span.
        sampling: which frames.
        span: start and end in seconds.
        limits: frames and bytes that may come out.
        strict: damage raises; else frames are flagged.

    Returns:
        The frames, or None where the index holds nothing that is shown.

    Raises:
        MediaError: a damaged frame in strict mode; nothing that could be decoded in either.
    """
    order = index.shown()
    if not order:
        return None
    decoder = Decoder(stream, index, limits, strict)
    times_T, end_s = index.times(order)
    _bound_rate(index.name, times_T, limits)
    indices, notes = sampling.choose(times_T, end_s, span)
    chosen, inverse = np.unique(indices, return_inverse=True)
    size = (stream.codec_context.width, stream.codec_context.height)
    bound_frames(index.name, len(indices), size, sampling, limits)
    frames: list[np.ndarray] | None = None
    corrupt_T = np.zeros(len(chosen), bool)
    if strict and not index.counted:
        frames = _by_stamp(decoder, [order[i] for i in chosen], sampling.max_side_px)
    if frames is None:  # lenient, or no stamps, or a frame that did not come where its packet said
        times_T, ordinals, corrupt = _walk(decoder, order)
        end_s = max(end_s, float(times_T[-1]))
        indices, notes = sampling.choose(times_T, end_s, span)
        chosen, inverse = np.unique(indices, return_inverse=True)
        bound_frames(index.name, len(indices), size, sampling, limits)
        frames = decoder.by_ordinal([int(ordinals[i]) for i in chosen], sampling.max_side_px)
        corrupt_T = corrupt[chosen]
    if index.dropped_s > 0.02:
        notes.append(f"the first {index.dropped_s:.2f} s of the picture cannot be decoded: the clip was cut between key frames")
    if not frames:
        return Picture(np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0), np.zeros(0, bool), end_s, [*notes, *decoder.notes])
    stacked = np.stack(frames) if len(frames) == len(indices) else np.stack([frames[i] for i in inverse])
    flags = corrupt_T[inverse]
    if flags.any():
        notes.append(f"{int(flags.sum())} of {len(flags)} frames may be damaged")
    return Picture(stacked, times_T[indices], flags, end_s, [*notes, *decoder.notes])


def bound_frames(name: str, count: int, size: tuple[int, int], sampling: Sampling, limits: Limits) -> None:
    """Hold the number of frames and their bytes to the limits.

    Raises:
        LimitError: more than `limits.max_decoded_frames`, or than half of `limits.decode_memory_bytes`.
    """
    if count > limits.max_decoded_frames:
        raise LimitError(f"{name}: {count} frames wanted, at most {limits.max_decoded_frames} are;", remedy=FEWER)
    width, height = scaled(*size, sampling.max_side_px)
    n_bytes, most = count * width * height * 3, limits.decode_memory_bytes // 2
    if n_bytes > most:
        raise LimitError(f"{name}: {count} frames of {width}x{height} take {n_bytes} bytes, at most {most};", remedy=FEWER)


def _bound_rate(name: str, times_T: np.ndarray, limits: Limits) -> None:
    """Hold the real frame rate to the limit: over 32 frames, so that one doubled stamp is no reason."""
    if len(times_T) > 32 and len(times_T) - 1 > limits.max_rate_hz * float(times_T[-1] - times_T[0]):
        found = f"{len(times_T)} frames in {times_T[-1] - times_T[0]:.3f} s"
        raise LimitError(f"{name}: {found}, at most {limits.max_rate_hz:g} per second are read;", remedy="lower its frame rate.")


def _by_stamp(decoder: Decoder, positions: list[int], max_side_px: int | None) -> list[np.ndarray] | None:
    """Strict: jump to key frames; where that meets damage, decode from the start before believing it. None: a frame is missing."""
    damage: Damage | None = None
    for jump in (True, False):
        try:
            frames = decoder.by_stamp(positions, max_side_px, jump=jump)
        except Damage as error:
            damage = error
            continue
        if frames is not None:
            return frames
    if damage is not None:
        raise decoder.refused(damage)
    return None


def _walk(decoder: Decoder, order: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode all of it: times (T,) ascending, the ordinal of each in the decoder's output, and which are damaged."""
    try:
        times_T, ordinals_T, corrupt_T = decoder.walk(order)
    except Damage as error:
        raise decoder.refused(error) from error
    if not len(times_T):
        raise MediaError(f"{decoder.name}: not one frame of the picture could be decoded;", remedy=CONVERT)
    return times_T, ordinals_T, corrupt_T
