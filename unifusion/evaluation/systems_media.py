"""A clip as content parts of OpenAI's chat completions: whole files as they are, spans and what is not muted written anew."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unifusion.batch import StreamReport
from unifusion.conversation import Clip, Media
from unifusion.errors import ConfigError, NoStreamError
from unifusion.limits import Limits
from unifusion.media import MediaInfo, Sampling, probe, read_clip
from unifusion.media.source import open_source
from unifusion.media.written import SIDE_PX, jpegs, wav, write_film
from unifusion.processor.opening import OpenedMedia, decode, raised

__all__ = ["STYLES", "Sent", "Style", "sent"]

Style = Literal["video_url", "split", "frames"]
STYLES: tuple[Style, ...] = ("video_url", "split", "frames")
_MIME = {
    "mov": "video/mp4", "matroska": "video/webm", "avi": "video/x-msvideo", "mpegts": "video/mp2t",
    "png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
}  # fmt: skip
_SOUND_HZ = 16_000
_HEARD = ("wav", "mp3")
"""What `input_audio` takes; other sounds are written as WAV."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What of one clip is sent.

    Attributes:
        parts: content parts.
        n_bytes: of the files in them.
        opened: the clip with reports of video and audio: what was sent, or why it was not.
    """

    parts: tuple[Mapping[str, Any], ...]
    n_bytes: int
    opened: OpenedMedia


@dataclass(frozen=True, kw_only=True)
class _How:
    """How clips are written."""

    style: Style
    frames: int
    rate_hz: float
    max_seconds: float
    limits: Limits
    isolate: bool


def sent(
    media: Media, *, style: Style = "video_url", frames: int = 8, rate_hz: float = 8.0, max_seconds: float = 60.0,
    limits: Limits = Limits(), isolate: bool = False,
) -> Sent:  # fmt: skip
    """Make the parts of a clip. A whole file is sent byte for byte; a span, or a clip with a stream muted, is cut and written anew.

    Args:
        media: the clip. A stream that is muted is not in what is sent; what is said (`transcript`) is not sent.
        style: of clips with moving pictures. `video_url`: one MP4 with its sound inside; `split`: an MP4 without sound, the sound beside
            as `input_audio`; `frames`: some pictures as `image_url`, the sound beside.
        frames: most pictures of a clip in the style `frames`.
        rate_hz: pictures a second of what is written anew.
        max_seconds: longest span; the rest is cropped and reported.
        limits, isolate: of decoding.

    Raises:
        MediaError: it cannot be read, or holds nothing to send.
    """
    if style not in STYLES:
        raise ConfigError(f"style {style!r};", remedy=f"there are {', '.join(STYLES)}.")
    how = _How(style=style, frames=frames, rate_hz=rate_hz, max_seconds=max_seconds, limits=limits, isolate=isolate)
    whole = _whole(media, how)
    return whole if whole is not None else _written(media, how)


def _whole(media: Media, how: _How) -> Sent | None:
    """A file as it is; None where something has to be left out, cut or changed."""
    touched = media.start_s is not None or media.end_s is not None or set(media.mute) - {"text"} or media.at_least_db is not None
    if touched or not isinstance(media.source, str | Path | bytes) or str(media.source).startswith("clip-world://"):
        return None
    info = probe(media.source, limits=how.limits, isolate=how.isolate)
    if info.is_image and info.container in _MIME and media.kind != "audio":
        data = _bytes(media.source, how)
        return _sent(media, info, _url("image", info.container, data), data, seen=True)
    if info.is_image or info.duration_s is None or info.duration_s > how.max_seconds or media.kind == "image":
        return None
    inside = how.style == "video_url" or (how.style == "split" and not info.has_audio)
    if info.has_video and media.kind == "video" and info.container in _MIME and inside:
        data = _bytes(media.source, how)
        return _sent(media, info, _url("video", info.container, data), data, seen=True, heard=info.has_audio)
    if not info.has_video and info.container in _HEARD:
        data = _bytes(media.source, how)
        return _sent(media, info, _sound(info.container, data), data, heard=True)
    return None


def _written(media: Media, how: _How) -> Sent:
    """A clip decoded and written anew.

    Raises:
        NoStreamError: nothing of it is left, and nothing was muted.
    """
    seen = media.kind != "audio" and not {"video", "image"} & set(media.mute)
    heard = media.kind != "image" and "audio" not in media.mute
    clip, cropped_s = Clip(), 0.0
    if seen or heard:
        clip, cropped_s = _decoded(media, seen, heard, how)
        clip = raised(clip, media.at_least_db)
    pictures = 0 if clip.frames_THWC is None or not seen else len(clip.frames_THWC)
    sound = wav(clip) if heard else None
    parts, n_bytes, shown = _moving(media, clip, pictures, sound, how)
    if not parts and not media.mute:
        raise NoStreamError(f"{media.name}: neither picture nor sound in this span;", remedy="give a clip with one of them.")
    silent = "muted on request" if "audio" in media.mute else "no sound in what was shown"
    blind = "muted on request" if {"video", "image"} & set(media.mute) else "no picture in what was shown"
    samples = 0 if sound is None or clip.waveform_N is None else len(clip.waveform_N)
    reports = {
        "video": StreamReport(
            modality="video", present=shown > 0, seconds=clip.duration_s if shown else 0.0, frames=shown, cropped_s=cropped_s,
            reason="" if shown else blind,
        ),
        "audio": StreamReport(
            modality="audio", present=samples > 0, seconds=samples / clip.sampling_rate_hz, samples=samples, cropped_s=cropped_s,
            reason="" if samples else silent,
        ),
    }  # fmt: skip
    opened = OpenedMedia(media=media, streams={}, reports=reports, duration_s=clip.duration_s, notes=clip.notes)
    return Sent(parts=tuple(parts), n_bytes=n_bytes, opened=opened)


def _decoded(media: Media, seen: bool, heard: bool, how: _How) -> tuple[Clip, float]:
    """A span and the seconds left out at its end; pictures of files are made small while they are decoded."""
    rate_hz = how.rate_hz if seen else None
    if not isinstance(media.source, str | Path | bytes) or str(media.source).startswith("clip-world://"):
        return decode(
            media, rate_hz=rate_hz, audio=heard, sampling_rate_hz=_SOUND_HZ, max_seconds=how.max_seconds, limits=how.limits,
            isolate=how.isolate,
        )  # fmt: skip
    start_s, length_s = media.start_s or 0.0, probe(media.source, limits=how.limits, isolate=how.isolate).duration_s
    end_s = min((t for t in (media.end_s, length_s) if t), default=start_s + how.max_seconds)
    shown_s = min(end_s, start_s + how.max_seconds) if end_s > start_s else media.end_s
    sampling = None if rate_hz is None else Sampling(rate_hz=rate_hz, max_frames=how.limits.max_decoded_frames, max_side_px=SIDE_PX)
    if sampling is not None and how.style == "frames" and media.kind != "image":  # a long span would fill the memory with what is not sent
        sampling = Sampling(count=how.frames, max_side_px=SIDE_PX)
    clip = read_clip(
        media.source, start_s=media.start_s, end_s=shown_s, video=sampling, audio=heard, sampling_rate_hz=_SOUND_HZ, limits=how.limits,
        isolate=how.isolate,
    )  # fmt: skip
    return clip, max(end_s - start_s - how.max_seconds, 0.0)


def _moving(media: Media, clip: Clip, pictures: int, sound: bytes | None, how: _How) -> tuple[list[dict[str, Any]], int, int]:
    """Content parts of a decoded clip, their bytes, and the number of pictures in them."""
    beside = [] if sound is None else [_sound("wav", sound)]
    heard = len(sound or b"")
    if not pictures:
        return beside, heard, 0
    if media.kind == "image" or pictures == 1 or how.style == "frames":
        stills = jpegs(clip, 1 if media.kind == "image" else how.frames)
        return [*(_url("image", "jpeg", s) for s in stills), *beside], heard + sum(map(len, stills)), len(stills)
    inside = how.style == "video_url" or sound is None
    film = _film(clip if inside else Clip(**{**vars(clip), "waveform_N": None}))
    return [_url("video", "mov", film), *([] if inside else beside)], len(film) + (0 if inside else heard), pictures


def _film(clip: Clip) -> bytes:
    """A clip as MP4."""
    with tempfile.TemporaryDirectory(prefix="unifusion-") as folder:
        path = Path(folder) / "clip.mp4"
        write_film(clip, path)
        return path.read_bytes()


def _bytes(source: str | Path | bytes, how: _How) -> bytes:
    """A file's content, read as carefully as one that is decoded."""
    with open_source(source, how.limits) as opened:
        return opened.handle.read()


def _sent(media: Media, info: MediaInfo, part: Mapping[str, Any], data: bytes, *, seen: bool = False, heard: bool = False) -> Sent:
    """One whole file."""
    opened = OpenedMedia(media=media, streams={}, reports=_reports(info, seen=seen, heard=heard), duration_s=info.duration_s or 0.0)
    return Sent(parts=(part,), n_bytes=len(data), opened=opened)


def _reports(info: MediaInfo, *, seen: bool, heard: bool) -> dict[str, StreamReport]:
    """What a whole file shows, by its header; nothing counts its frames."""
    seconds = info.duration_s or 0.0
    absent = {"video": "the file has no picture", "audio": "a still has no sound" if info.is_image else "the file has no sound"}
    return {
        kind: StreamReport(modality=kind, present=there, seconds=seconds if there else 0.0, reason="" if there else absent[kind])
        for kind, there in (("video", seen), ("audio", heard))
    }


def _url(kind: str, container: str, data: bytes) -> dict[str, Any]:
    """A picture or film as a data: URL."""
    coded = base64.b64encode(data).decode("ascii")
    return {"type": f"{kind}_url", f"{kind}_url": {"url": f"data:{_MIME[container]};base64,{coded}"}}


def _sound(container: str, data: bytes) -> dict[str, Any]:
    """A sound."""
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode("ascii"), "format": container}}
