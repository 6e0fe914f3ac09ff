"""Clips whose every frame carries its number as a barcode, in many containers, codecs and cuts. Made with PyAV, nothing stored.

A wrong frame is seen by reading its number, not guessed from how it looks. The sound is a rising tone, so a shift in time
shows as a shift of its correlation with the same tone made afresh.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

BITS, WIDTH, HEIGHT, RATE = 12, 192, 96, 25
BLOCK = WIDTH // (BITS // 2)
AUDIO_RATE = 48_000


def barcode(number: int) -> np.ndarray:
    """Return an RGB picture (96,192,3) that carries `number` in 12 blocks over a drifting background."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    x = np.arange(WIDTH)
    picture[:] = (96 + 48 * np.sin((x + 3 * number) / 17.0)).astype(np.uint8)[None, :, None]
    for bit in range(BITS):
        row, column = divmod(bit, BITS // 2)
        picture[row * 40 + 4 : row * 40 + 40, column * BLOCK + 4 : (column + 1) * BLOCK - 4] = 235 if number >> bit & 1 else 20
    return picture


def number_of(picture: np.ndarray) -> int:
    """Read the number; -1 where a block is neither black nor white (a damaged or blended picture)."""
    height, width = picture.shape[:2]
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, BITS // 2)
        y, x = (row * 40 + 22) * height // HEIGHT, (column * BLOCK + BLOCK // 2) * width // WIDTH
        level = float(picture[y - 4 : y + 4, x - 4 : x + 4].mean())
        if 90 < level < 165:
            return -1
        number |= int(level > 128) << bit
    return number


def tone(seconds: float, rate: int = AUDIO_RATE, first: int = 0) -> np.ndarray:
    """A tone rising from 300 Hz by 400 Hz each second, float32 (N,), amplitude 0.5; from sample `first` on."""
    t = np.arange(first, round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * (300 * t + 200 * t * t))).astype(np.float32)


@dataclass(frozen=True)
class Clip:
    """A made clip: its bytes, and the number that is on screen at time 0 .. as a list of presentation times."""

    name: str
    data: bytes
    suffix: str
    numbers: tuple[int, ...]
    times_s: tuple[float, ...]
    has_audio: bool
    zero_s: float = 0.0
    """The file's time 0 lies this much before the first number's time 0 (an audio codec's lead, what a cut left over)."""
    audio_offset_s: float = 0.0
    """What second of the tone is heard where the picture's clock shows 0."""

    def write(self, folder: Path) -> Path:
        """Store it."""
        path = folder / f"{self.name}{self.suffix}"
        path.write_bytes(self.data)
        return path

    def number_at(self, time_s: float) -> int:
        """The number on screen at a time."""
        index = int(np.searchsorted(np.asarray(self.times_s), time_s - self.zero_s + 1e-3, side="right")) - 1
        return self.numbers[max(0, index)]


class OneWay(io.RawIOBase):
    """A sink that cannot seek, as a pipe: the muxer can write no index."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Append."""
        self.data += bytes(data)
        return len(data)


X264 = {"preset": "ultrafast", "bf": "2", "crf": "23", "threads": "1"}


def encode(
    *,
    format: str = "mp4",
    codec: str = "libx264",
    frames: int = 60,
    gop: int = 12,
    options: dict[str, str] | None = None,
    audio: str | None = "aac",
    pix_fmt: str = "yuv420p",
    ticks: Callable[[int], int] = lambda n: n * 40,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
    seekable: bool = True,
    first: int = 0,
) -> bytes:
    """Encode frames `first`, `first`+1 .. shown at `ticks(n)` milliseconds, and the tone."""
    sink: Any = io.BytesIO() if seekable else OneWay()
    counts = codec.startswith(("mpeg", "mjpeg"))  # these codecs know a frame rate only
    with av.open(sink, "w", format=format, options=container_options or {}) as out:
        video: Any = out.add_stream(codec, rate=RATE, options=X264 if options is None else options)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, pix_fmt
        video.codec_context.gop_size = gop
        base = Fraction(1, RATE if counts else 1000)
        if not counts:
            video.time_base = video.codec_context.time_base = base
        if rotation:
            video.set_display_rotation(rotation)
        sound: Any = out.add_stream(audio, rate=AUDIO_RATE, layout="mono") if audio else None
        for n in range(frames):
            picture = barcode(first + n)
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(np.rot90(picture, -rotation // 90)) if rotation == 180 else picture, format="rgb24"
            )
            frame.pts, frame.time_base = (n if counts else ticks(n)), base
            out.mux(video.encode(frame))
            if sound is not None:
                _hear(out, sound, n, frames, ticks)
        out.mux(video.encode(None))
        if sound is not None:
            out.mux(sound.encode(None))
    return bytes(sink.data) if isinstance(sink, OneWay) else sink.getvalue()


def _hear(out: Any, sound: Any, n: int, frames: int, ticks: Callable[[int], int]) -> None:
    """Encode the tone from this frame to the next."""
    start = round(ticks(n) * AUDIO_RATE / 1000)
    end = round((ticks(n + 1) if n + 1 < frames else ticks(n) + 40) * AUDIO_RATE / 1000)
    wave = tone(end / AUDIO_RATE, first=start)
    data = wave[None] if sound.codec_context.format.name.startswith("flt") else (wave * 32767).astype(np.int16)[None]
    name = "fltp" if sound.codec_context.format.name.startswith("flt") else "s16"
    frame = av.AudioFrame.from_ndarray(data, format=name, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
    out.mux(sound.encode(frame))


def remux(data: bytes, format: str, *, drop_until_s: float = 0.0, shift_s: float = 0.0, options: dict[str, str] | None = None) -> bytes:
    """Copy packets into another container; with a cut, from the last key frame before it (as `ffmpeg -ss -c copy` does)."""
    sink = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(sink, "w", format=format, options=options or {}) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        video = source.streams.video[0]
        packets = [p for p in source.demux() if p.dts is not None]
        keys = [p.pts * p.time_base for p in packets if p.stream_index == video.index and p.is_keyframe]
        key = max((t for t in keys if t <= drop_until_s), default=Fraction(0))
        for packet in packets:
            time_s = packet.pts * packet.time_base
            if packet.stream_index == video.index and time_s < key:
                continue
            if packet.stream_index != video.index and time_s < drop_until_s:
                continue
            move = int((Fraction(shift_s).limit_denominator(10**6) - Fraction(drop_until_s).limit_denominator(10**6)) / packet.time_base)
            packet.pts, packet.dts = packet.pts + move, packet.dts + move
            packet.stream = streams[packet.stream_index]
            out.mux(packet)
    return sink.getvalue()


def _made(name: str, suffix: str, data: bytes, **other: Any) -> Clip:
    """A clip of 60 frames at 25 per second unless told."""
    frames = other.pop("frames", 60)
    first = other.pop("first", 0)
    times = other.pop("times_s", tuple(n / RATE for n in range(frames)))
    return Clip(name, data, suffix, tuple(range(first, first + frames)), times, other.pop("has_audio", True), **other)


def vfr(n: int) -> int:
    """Milliseconds: 25 per second for 30 frames, then 10 per second."""
    return n * 40 if n < 30 else 1200 + (n - 30) * 100


@functools.cache
def make(name: str) -> Clip:
    """Make one of `NAMES`."""
    return _MAKERS[name]()


def _ts_cut() -> Clip:
    """A transport stream cut in the middle of a group of pictures: what comes before the next key frame cannot be decoded."""
    whole = encode(format="mpegts", audio=None, frames=60, gop=12)
    with av.open(io.BytesIO(whole)) as source:
        keys = [(p.pos, p.pts) for p in source.demux(video=0) if p.is_keyframe and p.pos is not None]
    at = (keys[1][0] + keys[2][0]) // 2 // 188 * 188
    return _made("ts_cut", ".ts", whole[at:], has_audio=False, zero_s=-0.64)


def _late_video() -> Clip:
    """The picture begins 1 s after the sound."""
    times = tuple(1.0 + n / RATE for n in range(40))
    data = encode(frames=40, ticks=lambda n: 1000 + n * 40, audio=None)
    return _made("late_video", ".mp4", _with_tone(data, 2.6), frames=40, times_s=times)


def _with_tone(data: bytes, seconds: float) -> bytes:
    """Add the tone from time 0 to a silent clip."""
    sink = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(sink, "w", format="mp4") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        sound: Any = out.add_stream("aac", rate=AUDIO_RATE, layout="mono")
        wave = tone(seconds)
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, start, Fraction(1, AUDIO_RATE)
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
    return sink.getvalue()


def _cut_edit_list() -> Clip:
    """Cut at 1.0 s without decoding again: an edit list hides the frames since the key frame."""
    data = remux(encode(gop=20, audio="aac"), "mp4", drop_until_s=1.0, options={"avoid_negative_ts": "disabled"})
    return _made("edit_list", ".mp4", data, frames=35, first=25, audio_offset_s=1.0)


_HEVC = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=12:bframes=2:open-gop=1"}
_OPEN_GOP = {**X264, "x264-params": "open-gop=1:keyint=12:bframes=2:b-adapt=0:scenecut=0"}
_VP9 = {"threads": "1", "deadline": "realtime", "cpu-used": "8", "crf": "20", "b:v": "0"}
_VP8 = {"deadline": "good", "cpu-used": "5", "threads": "1", "crf": "10", "b:v": "1M", "auto-alt-ref": "1", "lag-in-frames": "10"}
_AV1 = {"preset": "12", "crf": "30", "svtav1-params": "keyint=12"}
_CABAC = {"preset": "veryfast", "threads": "1", "x264-params": "sliced-threads=0:slices=1"}
_SLICES = {"preset": "veryfast", "threads": "1", "x264-params": "slices=4"}
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+delay_moov"}
_AAC_LEAD_S = 1024 / AUDIO_RATE
"""MPEG-TS cannot say that the first AAC frame is only the codec's lead."""
_MP2_LEAD_S = 481 / AUDIO_RATE
_MP3_LEAD_S = 1105 / AUDIO_RATE

_MAKERS: dict[str, Callable[[], Clip]] = {
    "mp4": lambda: _made("mp4", ".mp4", encode()),
    "mkv": lambda: _made("mkv", ".mkv", encode(format="matroska")),
    "fragmented": lambda: _made("fragmented", ".mp4", encode(container_options=_FRAGMENTED)),
    "webm_vp9": lambda: _made("webm_vp9", ".webm", encode(format="webm", codec="libvpx-vp9", options=_VP9, audio="libopus")),
    "webm_vp8": lambda: _made("webm_vp8", ".webm", encode(format="webm", codec="libvpx", options=_VP8, audio="libopus")),
    "long_gop": lambda: _made("long_gop", ".mp4", encode(gop=300)),
    "vfr": lambda: _made("vfr", ".mp4", encode(ticks=vfr), times_s=tuple(vfr(n) / 1000 for n in range(60))),
    "ts": lambda: _made("ts", ".ts", encode(format="mpegts"), zero_s=_AAC_LEAD_S),
    "ts_copied": lambda: _made("ts_copied", ".ts", remux(encode(), "mpegts")),
    "ts_cut": _ts_cut,
    "edit_list": _cut_edit_list,
    "avi": lambda: _made(
        "avi", ".avi", encode(format="avi", codec="mpeg4", options={"b": "2M", "bf": "2"}, audio="libmp3lame"), audio_offset_s=-_MP3_LEAD_S
    ),
    "mkv_no_index": lambda: _made("mkv_no_index", ".mkv", encode(format="matroska", seekable=False)),
    "mkv_av1": lambda: _made("mkv_av1", ".mkv", encode(format="matroska", codec="libsvtav1", options=_AV1, audio="libopus")),
    "hevc_open_gop": lambda: _made("hevc_open_gop", ".mp4", encode(codec="libx265", options=_HEVC)),
    "h264_10bit": lambda: _made("h264_10bit", ".mp4", encode(pix_fmt="yuv420p10le")),
    "open_gop": lambda: _made("open_gop", ".mp4", encode(options=_OPEN_GOP)),
    "ts_open_gop": lambda: _made("ts_open_gop", ".ts", encode(format="mpegts", options=_OPEN_GOP), zero_s=_AAC_LEAD_S),
    "slices": lambda: _made("slices", ".mp4", encode(options=_SLICES)),
    "cabac": lambda: _made("cabac", ".mp4", encode(options=_CABAC)),
    "mjpeg": lambda: _made(
        "mjpeg", ".avi", encode(format="avi", codec="mjpeg", pix_fmt="yuvj420p", options={}, audio=None), has_audio=False
    ),
    "rotated": lambda: _made("rotated", ".mp4", encode(rotation=180)),
    "mpeg2_ts": lambda: _made(
        "mpeg2_ts", ".ts", encode(format="mpegts", codec="mpeg2video", options={"b": "3M"}, audio="mp2"), zero_s=_MP2_LEAD_S
    ),
    "late_video": _late_video,
}
NAMES = tuple(_MAKERS)
