"""One object of limits, used by every door: command line, demo, server and training.

A limit that only one door checks is no limit: vLLM's advisories repeat that hole four times over, so the checks
live in `media` and `processor`, below all doors, and take a `Limits`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Upper bounds on what is read, decoded and generated.

    Header values are checked before decoding, and the same bounds again while decoding, since a header can lie.
    """

    max_bytes: int = 2 * 1024**3
    """Size of one media file."""
    max_seconds: float = 4 * 3600.0
    """Length of one media file by its header."""
    max_span_seconds: float = 600.0
    """Length of the span that is decoded for one question."""
    max_pixels: int = 4096 * 2304
    """Width x height of one picture or frame."""
    max_frames: int = 1_000_000
    """Frames in one file by its header (or by seconds x rate)."""
    max_rate_hz: float = 480.0
    """Frames per second by the header."""
    max_decoded_frames: int = 4096
    """Frames returned for one span."""
    max_streams: int = 32
    """Streams in one container."""
    max_tokens: int = 32_768
    """Tokens of one conversation, media included."""
    max_new_tokens: int = 1024
    """Tokens of one answer."""
    max_text_chars: int = 200_000
    """Characters of one text part."""
    max_row_bytes: int = 16 * 1024**2
    """Bytes of one row of a JSONL file, clips that it holds as base64 included."""
    max_media: int = 16
    """Clips in one conversation."""
    decode_timeout_s: float = 60.0
    """Wall time of one decode in the killable child."""
    decode_memory_bytes: int = 4 * 1024**3
    """Address space of the killable child."""
