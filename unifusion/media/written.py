"""A decoded clip as files that others open: pictures as JPEG, the sound as WAV, a film as MP4."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.conversation import Clip
from unifusion.errors import MediaError

__all__ = ["SIDE_PX", "jpegs", "wav", "write_film"]

SIDE_PX = 512
"""Longer side of pictures that are written."""


def jpegs(clip: Clip, most: int, *, side_px: int = SIDE_PX) -> list[bytes]:
    """At most so many pictures of a clip, evenly over it, as JPEG."""
    from PIL import Image

    if clip.frames_THWC is None or not len(clip.frames_THWC):
        return []
    count = len(clip.frames_THWC)
    middles = sorted({int((n + 0.5) * count / min(most, count)) for n in range(min(most, count))})
    out = []
    for at in middles:
        picture = Image.fromarray(np.ascontiguousarray(clip.frames_THWC[at]))
        picture.thumbnail((side_px, side_px))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=88)
        out.append(buffer.getvalue())
    return out


def wav(clip: Clip) -> bytes | None:
    """The sound of a clip as 16-bit PCM; None where it has none."""
    if clip.waveform_N is None or not len(clip.waveform_N):
        return None
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(clip.sampling_rate_hz)
        file.writeframes((np.clip(clip.waveform_N, -1, 1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def write_film(clip: Clip, path: Path, *, side_px: int = SIDE_PX) -> None:
    """Write a clip with moving pictures as H.264 and AAC, as every browser plays it; the sound begins where it does in the clip.

    Raises:
        MediaError: it has no pictures.
    """
    import av
    from PIL import Image

    if clip.frames_THWC is None or clip.frame_times_s is None or not len(clip.frames_THWC):
        raise MediaError(f"no pictures to write to {path.name};", remedy="write its sound instead.")
    height, width = clip.frames_THWC.shape[1:3]
    scale = min(1.0, side_px / max(height, width))
    size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
    clock = Fraction(1, 1000)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "veryfast", "crf": "24"})
        video.width, video.height, video.pix_fmt, video.time_base = *size, "yuv420p", clock
        video.codec_context.time_base, video.codec_context.thread_count = clock, 1
        audio: Any = container.add_stream("aac", rate=clip.sampling_rate_hz, layout="mono") if clip.waveform_N is not None else None
        ticks = _ticks(clip.frame_times_s)
        for frame_HWC, tick in zip(clip.frames_THWC, ticks, strict=True):
            picture = Image.fromarray(np.ascontiguousarray(frame_HWC)).resize(size)
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = tick, clock
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            _write_sound(container, audio, clip)


def _ticks(times_s: np.ndarray) -> Sequence[int]:
    """Times in thousandths of a second from the first, each after the one before."""
    found: list[int] = []
    for time_s in times_s - times_s[0]:
        found.append(max(round(float(time_s) * 1000), found[-1] + 1 if found else 0))
    return found


def _write_sound(container: Any, stream: Any, clip: Clip) -> None:
    """The sound in pieces of the codec's frame size, after silence where it begins late."""
    import av

    if clip.waveform_N is None:
        return
    late = np.zeros(round(max(clip.waveform_start_s, 0.0) * clip.sampling_rate_hz), np.float32)
    sound_N = np.concatenate([late, clip.waveform_N]).astype(np.float32)
    for start in range(0, len(sound_N), 1024):
        piece = np.ascontiguousarray(sound_N[None, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = clip.sampling_rate_hz, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
