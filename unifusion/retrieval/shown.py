"""A passage as files that others can open: a few pictures as JPEG and the sound as WAV for a server, a short film for a browser."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.batch import ModalityReport, StreamReport
from unifusion.conversation import Clip, Media
from unifusion.errors import MediaError
from unifusion.limits import Limits
from unifusion.media import Sampling, read_clip
from unifusion.processor.opening import decode

__all__ = ["jpegs", "looked_at", "opened", "wav", "write_film"]

_RATE_HZ = 16_000
_SIDE_PX = 512


def opened(
    media: Media, *, pictures: bool = True, sound: bool = True, rate_hz: float = 8.0, max_seconds: float = 60.0,
    limits: Limits = Limits(), isolate: bool = False,
) -> Clip:  # fmt: skip
    """Decode a passage, pictures made small while they are, damaged frames flagged rather than refused.

    Raises:
        MediaError: it cannot be decoded.
    """
    seen, heard = pictures and media.kind != "audio", sound and media.kind != "image"
    if not seen and not heard:
        return Clip()
    if isinstance(media.source, str | Path) and not str(media.source).startswith("clip-world://"):
        end_s = None if media.end_s is None else min(media.end_s, (media.start_s or 0.0) + max_seconds)
        sampling = Sampling(rate_hz=rate_hz, max_frames=limits.max_decoded_frames, max_side_px=_SIDE_PX) if seen else None
        return read_clip(
            media.source, start_s=media.start_s, end_s=end_s, video=sampling, audio=heard, sampling_rate_hz=_RATE_HZ, limits=limits,
            strict=False, isolate=isolate,
        )  # fmt: skip
    clip, _ = decode(
        media, rate_hz=rate_hz if seen else None, audio=heard, sampling_rate_hz=_RATE_HZ, max_seconds=max_seconds, limits=limits,
        isolate=isolate, strict=False,
    )  # fmt: skip
    return clip


def looked_at(clip: Clip, frames: int, sound: bool) -> ModalityReport:
    """What of a clip is shown to somebody.

    Args:
        clip: as it was decoded.
        frames: pictures that are shown.
        sound: whether the sound is.
    """
    heard = clip.waveform_N if sound else None
    samples, rate = (len(heard), clip.sampling_rate_hz) if heard is not None else (0, _RATE_HZ)
    absent = "" if frames else "no picture was sent"
    silent = "" if samples else "no sound was sent"
    return ModalityReport(
        streams={
            "video": StreamReport(
                modality="video", present=frames > 0, seconds=clip.duration_s if frames else 0.0, frames=frames, reason=absent
            ),
            "audio": StreamReport(modality="audio", present=samples > 0, seconds=samples / rate, samples=samples, reason=silent),
        },
        notes=list(clip.notes),
    )  # fmt: skip


def jpegs(clip: Clip, most: int, *, side_px: int = _SIDE_PX) -> list[bytes]:
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


def write_film(clip: Clip, path: Path, *, side_px: int = _SIDE_PX) -> None:
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
