"""A passage decoded for others to look at (a server, a browser), and what they are shown of it."""

from __future__ import annotations

from pathlib import Path

from unifusion.batch import ModalityReport, StreamReport
from unifusion.conversation import Clip, Media
from unifusion.limits import Limits
from unifusion.media import Sampling, read_clip
from unifusion.processor.opening import decode

__all__ = ["looked_at", "opened"]

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
