"""What the header of a media file says."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MediaInfo"]


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """A file's streams as its header declares them. A declared frame count is deliberately absent: it is often wrong."""

    name: str
    """The path, or how many bytes were given."""
    container: str
    """What the first bytes are: mov, matroska, avi, mpegts, wav, mp3, flac, ogg, aac, png, jpeg, gif, webp, bmp, avif."""
    n_bytes: int
    n_streams: int
    duration_s: float | None = None
    """None where the header does not say (a live recording); 0 for a still."""
    start_s: float = 0.0
    """The container's own time at which picture or sound begins; every other time counts from there."""
    has_video: bool = False
    width: int = 0
    """Of the upright picture, after rotation."""
    height: int = 0
    rate_hz: float | None = None
    """Average frames per second; the real rate may vary."""
    rotation: int = 0
    """Degrees counter-clockwise by which stored frames are turned to be upright."""
    video_codec: str = ""
    video_start_s: float = 0.0
    """How much later than `start_s` the picture begins."""
    has_audio: bool = False
    sampling_rate_hz: int = 0
    channels: int = 0
    audio_codec: str = ""
    audio_start_s: float = 0.0
    """How much later than `start_s` the sound begins."""
    is_image: bool = False
    """A still or an animated picture file."""
