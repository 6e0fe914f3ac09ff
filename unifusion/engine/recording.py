"""A recording of any length as windows of arrays: read piece by piece, of which only what a window still needs is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from unifusion.conversation import Clip, Media
from unifusion.errors import ConfigError, LimitError
from unifusion.limits import Limits
from unifusion.media.levels import quietest
from unifusion.processor.opening import decode

__all__ = ["EPSILON_S", "Kept", "pieces_of_sound", "read_pcm", "read_pieces"]

EPSILON_S = 1e-6
_SHORT_S = 0.05
"""A piece that is shorter than was asked for by more is the last one."""
_BEFORE_S = 0.5
"""So long before a window its first frame may have been presented."""
_PIECE_BYTES = 128 * 1024**2
_LONGEST_PIECE_S = 30.0


def read_pieces(
    media: Media, *, rate_hz: float | None, sampling_rate_hz: int | None, limits: Limits | None = None, isolate: bool = False,
    strict: bool = True,
) -> Iterator[Clip]:  # fmt: skip
    """Decode a file piece by piece, each as long as its frames take 128 MB, 30 s at most; `start_s` of a piece is its second in the file.

    Args:
        media: a file, or a span of it.
        rate_hz: frames a second; None for no picture.
        sampling_rate_hz: of the sound; None for no sound.
        limits: of the file.
        isolate: decode in a killable child process.
        strict: a damaged frame is an error.

    Raises:
        MediaError: the file cannot be decoded.
        ConfigError: it is a still, or nothing of it is taken.
    """
    from unifusion.media import probe

    if not isinstance(media.source, str) or media.source.startswith("clip-world://"):
        raise ConfigError(f"{media.name} is no file;", remedy="name a file that lies on disk.")
    limits = limits or Limits()
    info = probe(media.source, limits=limits, isolate=isolate)
    picture = rate_hz is not None and media.kind == "video" and info.has_video and "video" not in media.mute
    heard = sampling_rate_hz is not None and info.has_audio and "audio" not in media.mute
    if info.is_image or not (picture or heard):
        raise ConfigError(
            f"{media.name} has nothing that goes on in time and that the model takes;", remedy="give a recording, or leave --stream out."
        )
    per_s = (rate_hz or 0.0) * info.width * info.height * 3 if picture else 0.0
    piece_s = _LONGEST_PIECE_S if not per_s else min(_LONGEST_PIECE_S, max(1.0, float(_PIECE_BYTES // per_s)))
    end_s = min(media.end_s if media.end_s is not None else math.inf, info.duration_s or math.inf)
    number, begin_s = 0, media.start_s or 0.0
    while (at_s := begin_s + number * piece_s) < end_s - EPSILON_S:
        stop_s = min(at_s + piece_s, end_s)
        clip, _ = decode(
            replace(media, start_s=at_s, end_s=stop_s), rate_hz=rate_hz if picture else None, audio=heard, max_seconds=piece_s + 1.0,
            sampling_rate_hz=sampling_rate_hz or 16_000, limits=limits, isolate=isolate, strict=strict,
        )  # fmt: skip
        yield replace(clip, start_s=at_s)
        if math.isinf(end_s) and clip.duration_s < stop_s - at_s - _SHORT_S:
            return
        number += 1


def read_pcm(handle: BinaryIO, *, sampling_rate_hz: int, piece_s: float) -> Iterator[Clip]:
    """Read raw mono sound, 16 bits a sample with the low byte first, as it comes; ends where the handle does.

    Raises:
        ConfigError: a sampling rate no sound has.
    """
    if not 4_000 <= sampling_rate_hz <= 192_000:
        raise ConfigError(f"sound of {sampling_rate_hz} samples a second;", remedy="say with --rate how many it has: 16000, 48000 ..")
    wanted = max(1, round(piece_s * sampling_rate_hz)) * 2
    read = 0
    while raw := handle.read(wanted):
        samples_N = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / 32768.0
        yield Clip(
            waveform_N=samples_N, sampling_rate_hz=sampling_rate_hz, duration_s=len(samples_N) / sampling_rate_hz,
            start_s=read / sampling_rate_hz,
        )  # fmt: skip
        read += len(samples_N)


def pieces_of_sound(clips: Iterable[Clip], rate_hz: int, longest_s: float) -> Iterator[tuple[float, np.ndarray]]:
    """Cut sound that comes in pieces into others of at most `longest_s`: (second of the first sample, samples).

    Each ends at the softest moment of its last half. Holes between pieces are silence, as within one file.
    """
    longest = max(2, int(longest_s * rate_hz))
    kept_N, at_s = np.zeros(0, np.float32), None
    for clip in clips:
        if clip.waveform_N is None or not len(clip.waveform_N):
            continue
        begins_s = clip.start_s + clip.waveform_start_s
        at_s = begins_s if at_s is None else at_s
        hole = round((begins_s - at_s) * rate_hz) - len(kept_N)
        kept_N = np.concatenate([kept_N, np.zeros(max(0, hole), np.float32), clip.waveform_N])
        while len(kept_N) > longest:
            cut = quietest(kept_N[:longest], rate_hz)
            yield at_s, kept_N[:cut]
            kept_N, at_s = kept_N[cut:], at_s + cut / rate_hz
    if at_s is not None and len(kept_N):
        yield at_s, kept_N


class Kept:
    """The pieces that windows to come still need.

    Args:
        most_s: seconds that may be kept.
    """

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s
        self._pieces: list[Clip] = []
        self.begin_s: float | None = None
        """Where the first piece began."""
        self.end_s = 0.0

    def add(self, piece: Clip) -> None:
        """Put a piece behind the others.

        Raises:
            LimitError: more is kept than may be.
        """
        self.begin_s = piece.start_s if self.begin_s is None else self.begin_s
        self._pieces.append(piece)
        self.end_s = piece.start_s + piece.duration_s
        if self.end_s - self._pieces[0].start_s > self.most_s:
            raise LimitError(f"{self.end_s - self._pieces[0].start_s:.0f} s are kept;", remedy="take shorter windows.")

    def let_go(self, before_s: float) -> None:
        """Forget pieces that end before a second."""
        self._pieces = [p for p in self._pieces if p.start_s + p.duration_s > before_s - _BEFORE_S]

    def window(self, start_s: float, end_s: float) -> Clip:
        """The arrays of [start_s, end_s), times from its start; a stream that it lacks is None."""
        own = [p for p in self._pieces if p.start_s < end_s and p.start_s + p.duration_s > start_s - _BEFORE_S]
        frames, times = _frames(own, start_s, end_s)
        sound, sound_start_s, rate_hz = _sound(own, start_s, end_s)
        return Clip(
            frames_THWC=frames, frame_times_s=times, waveform_N=sound, sampling_rate_hz=rate_hz, waveform_start_s=sound_start_s,
            duration_s=end_s - start_s, start_s=start_s, notes=tuple(dict.fromkeys(n for p in own for n in p.notes)),
        )  # fmt: skip


def _frames(pieces: list[Clip], start_s: float, end_s: float) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Frames (T, H, W, 3) and their times (T,) in a window.

    The frame that is on screen at some tick was presented a little before it, so borders lie half a step of the ticks earlier: a window
    then has the frames that its span has when it is read by itself.
    """
    shown = [p for p in pieces if p.frames_THWC is not None and p.frame_times_s is not None]
    steps = np.concatenate([np.diff(np.asarray(p.frame_times_s)) for p in shown]) if shown else np.zeros(0)
    half_s = float(np.median(steps)) / 2 if len(steps) else EPSILON_S
    frames, times = [], []
    for piece in shown:
        at_T = np.asarray(piece.frame_times_s) + piece.start_s
        keep_T = (at_T >= start_s - half_s) & (at_T < end_s - half_s)
        frames.append(piece.frames_THWC[keep_T])  # type: ignore[index]
        times.append(at_T[keep_T] - start_s)
    if not sum(len(f) for f in frames):
        return None, None
    return np.concatenate(frames), np.maximum(np.concatenate(times), 0.0)


def _sound(pieces: list[Clip], start_s: float, end_s: float) -> tuple[np.ndarray | None, float, int]:
    """Samples in a window, where in it they begin, and their rate; a hole between two pieces is silence, as within one file."""
    heard = [p for p in pieces if p.waveform_N is not None and len(p.waveform_N)]
    if not heard:
        return None, 0.0, 16_000
    rate_hz = heard[0].sampling_rate_hz
    first, last = round(start_s * rate_hz), round(end_s * rate_hz)
    spans = []
    for piece in heard:
        wave_N: np.ndarray = piece.waveform_N  # type: ignore[assignment]
        at = round((piece.start_s + piece.waveform_start_s) * rate_hz)
        begin, stop = max(first, at), min(last, at + len(wave_N))
        if begin < stop:
            spans.append((begin, wave_N[begin - at : stop - at]))
    if not spans:
        return None, 0.0, rate_hz
    low, high = spans[0][0], max(begin + len(part) for begin, part in spans)
    sound_N = np.zeros(high - low, np.float32)
    for begin, part in spans:
        sound_N[begin - low : begin - low + len(part)] = part
    return sound_N, (low - first) / rate_hz, rate_hz
