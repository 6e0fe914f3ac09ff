"""Name a file's format by its first bytes, never by its name or by FFmpeg's guessing.

The demuxer is then forced, so a playlist called `clip.mp4` cannot make FFmpeg open what the playlist points at
(HLS, DASH, ffconcat and "subfile" were all opened by default FFmpeg settings).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from unifusion.errors import MediaError

__all__ = ["HEAD_BYTES", "Kind", "sniff", "sniff_head"]

HEAD_BYTES = 4096
_TEXT = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"<smil", b"[playlist]", b"file '", b"v=0\r\n", b"RTSP")
_ATOMS = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"sidx"}
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}


@dataclass(frozen=True)
class Kind:
    """One format: its name, FFmpeg's demuxer ("" for pictures, which Pillow reads)."""

    name: str
    demuxer: str = ""
    allowed: str = ""
    """Names for FFmpeg's format whitelist."""

    @property
    def is_image(self) -> bool:
        """Whether Pillow reads it."""
        return not self.demuxer


_MOV = Kind("mov", "mov", "mov,mp4,m4a,3gp,3g2,mj2")
_MATROSKA = Kind("matroska", "matroska", "matroska,webm")
_MP3 = Kind("mp3", "mp3", "mp3")
_AAC = Kind("aac", "aac", "aac")
_FLAC = Kind("flac", "flac", "flac")
_PREFIXES = {
    b"\x1a\x45\xdf\xa3": _MATROSKA,
    b"OggS": Kind("ogg", "ogg", "ogg"),
    b"fLaC": _FLAC,
    b"RF64": Kind("wav", "wav", "wav"),
    b"FLV\x01": Kind("flv", "flv", "flv"),
    b"\x89PNG\r\n\x1a\n": Kind("png"),
    b"\xff\xd8\xff": Kind("jpeg"),
    b"GIF87a": Kind("gif"),
    b"GIF89a": Kind("gif"),
}
_RIFF = {b"AVI ": Kind("avi", "avi", "avi"), b"WAVE": Kind("wav", "wav", "wav"), b"WEBP": Kind("webp")}


def sniff(handle: BinaryIO, name: str) -> Kind:
    """Return the format of an open file and put the position back to 0.

    Raises:
        MediaError: a playlist or manifest, or no format this package reads.
    """
    handle.seek(0)
    head = handle.read(HEAD_BYTES)
    if head[:3] == b"ID3" and len(head) >= 10:  # a tag before mp3, aac or flac; its length is 4 x 7 bits
        length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        handle.seek(10 + length)
        kind = sniff_head(handle.read(HEAD_BYTES))
        kind = kind if kind in (_MP3, _AAC, _FLAC) else _MP3
    else:
        kind = sniff_head(head)
    handle.seek(0)
    if kind is not None:
        return kind
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(_TEXT):
        raise MediaError(f"{name}: a playlist or manifest, not a clip;", remedy="it may point at other files, so give the clip itself.")
    start = re.sub(r"[^\x20-\x7e]", ".", head[:16].decode("latin-1"))
    raise MediaError(
        f"{name}: no known format (it begins with {start!r});",
        remedy="wanted mp4, mov, mkv, webm, avi, flv, ts, wav, mp3, flac, ogg, aac, png, jpeg, gif, webp, bmp or avif.",
    )


def sniff_head(head: bytes) -> Kind | None:
    """Return the format whose signature `head` (the first 4096 bytes) carries, or None."""
    for prefix, kind in _PREFIXES.items():
        if head.startswith(prefix):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] in _ATOMS:
        return Kind("avif") if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis") else _MOV
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return Kind("bmp")
    if _is_mpegts(head):
        return Kind("mpegts", "mpegts", "mpegts")
    return _mpeg_audio(head)


def _is_mpegts(head: bytes) -> bool:
    """Four sync bytes in step: 188 bytes (broadcast) or 192 (camcorder); a cut may begin in the middle of a packet."""
    steps = ((188, range(188)), (192, range(192)))
    return any(
        all(offset + k * step < len(head) and head[offset + k * step] == 0x47 for k in range(4))
        for step, offsets in steps
        for offset in offsets
    )


def _mpeg_audio(head: bytes) -> Kind | None:
    """An ADTS (layer 0) or MPEG audio frame header with no reserved value."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or head[1] == 0xFE:  # FF FE begins texts in UTF-16, such as subtitles
        return None
    layer = head[1] >> 1 & 3
    if layer == 0:
        return _AAC if head[1] & 0xF0 == 0xF0 and head[2] >> 2 & 15 < 13 else None
    reserved = head[1] >> 3 & 3 == 1 or head[2] >> 4 == 15 or head[2] >> 2 & 3 == 3
    return None if reserved else _MP3
