"""One video decoder over the packets of an index: by stamp with jumps, or walked through from the start."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np

from unifusion.errors import MediaError
from unifusion.media.container import codec_options
from unifusion.media.index import PictureIndex
from unifusion.media.painter import Painter
from unifusion.media.remedies import LENIENT

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from unifusion.limits import Limits

__all__ = ["Damage", "Decoder"]

_REORDER = 16
"""Most frames an H.264 or HEVC decoder holds back: damage seen now may lie in frames given out that many ago."""
_CHECKING = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_FAILURES = (av.error.FFmpegError, ValueError, RuntimeError, OSError)


def _context(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder, or libvpx where it does the same and notices more.

    VP8 and VP9 carry no checks. Of 85 clips that a damaged VP9 stream made wrong, FFmpeg's own decoder noticed 13, libvpx 74.
    """
    own = stream.codec_context
    better = _CHECKING.get(own.name)
    if better is None or better not in av.codecs_available or own.pix_fmt != "yuv420p":
        return own
    return cast("VideoCodecContext", av.CodecContext.create(cast(Any, better), "r"))


class Damage(Exception):
    """The decoder met damage at some time of the span."""


class Decoder:
    """Feeds packets and hands out frames. Strict: damage raises. Lenient: it is recorded and decoding goes on."""

    def __init__(self, stream: VideoStream, index: PictureIndex, limits: Limits, strict: bool) -> None:
        self.name, self.index, self.strict = index.name, index, strict
        self.notes: list[str] = []
        self._context = _context(stream) if strict else stream.codec_context
        self._context.options = codec_options(limits, strict)
        # Never slice threads: with them FFmpeg's MPEG-2 decoder calls whole files damaged. Lenient: one thread, so that an
        # error is reported where it is.
        self._context.thread_type = "FRAME"
        self._context.thread_count = min(4, os.cpu_count() or 1) if strict else 1
        self._fed_s: deque[float] = deque(maxlen=self._context.thread_count)
        self._used = False
        self._errors = 0

    def refused(self, damage: Damage) -> MediaError:
        """Return the error for damage in strict mode."""
        return MediaError(f"{self.name}: damaged picture {damage};", remedy=LENIENT)

    def by_stamp(self, positions: list[int], max_side_px: int | None, jump: bool) -> list[np.ndarray] | None:
        """Return the frames of packets `positions`; with `jump` only groups of pictures that hold one are decoded.

        Returns:
            One picture for each position, or None when a frame did not come.
        """
        runs: list[tuple[int, list[int]]] = []
        for position in sorted(positions):
            start = self.index.start_for(position) if jump else self.index.first
            if runs and start <= runs[-1][1][-1]:
                runs[-1][1].append(position)
            else:
                runs.append((start, [position]))
        painter, found = Painter(), dict[int, np.ndarray]()
        for start, members in runs:
            wanted = {self.index.kept[p].pts: p for p in members}
            last = None
            for frame in self._frames(start):
                if last is not None and frame.pts is not None and frame.pts < last:
                    return None  # stamps out of order: packets and frames cannot be matched by them
                last = frame.pts
                if frame.pts in wanted:
                    found[wanted.pop(frame.pts)] = painter.paint(frame, max_side_px)
                    if not wanted:
                        break
        self.notes.extend(painter.notes)
        return [found[p] for p in positions] if len(found) == len(set(positions)) else None

    def walk(self, order: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Decode everything without keeping pictures.

        Returns:
            Times (T,) ascending, the ordinal (T,) of each frame in the decoder's output, and damage flags (T,).
        """
        known_T, _ = self.index.times(order)
        floor = float(known_T[0])
        times: list[float] = []
        flags: list[bool] = []
        ordinals: list[int] = []
        damaged, group_start, errors = False, 0, self._errors
        for ordinal, frame in enumerate(self._frames(self.index.first)):
            time_s = self._time(frame, len(times), known_T)
            if time_s is None or (time_s < floor - 1e-6 and not times):
                continue
            if frame.key_frame and not frame.is_corrupt and self._errors == errors:
                damaged, group_start = False, len(times)
            if frame.is_corrupt or self._errors != errors:
                damaged, errors = True, self._errors
                back = max(group_start, len(flags) - _REORDER)
                flags[back:] = [True] * (len(flags) - back)
            times.append(time_s)
            flags.append(damaged)
            ordinals.append(ordinal)
        if self._errors != errors and flags:  # damage after the last frame that came out
            flags[max(group_start, len(flags) - _REORDER) :] = [True] * min(_REORDER, len(flags) - group_start)
        if self._errors:
            self.notes.append(f"{self._errors} packets of the picture could not be decoded")
        times_T = np.asarray(times)
        if (np.diff(times_T) < 0).any():  # a decoder gives frames in the order they are shown, whatever their stamps
            self.notes.append("the time stamps of the picture are out of order: its times are approximate")
        return np.sort(times_T), np.asarray(ordinals, np.int64), np.asarray(flags, bool)

    def by_ordinal(self, ordinals: list[int], max_side_px: int | None) -> list[np.ndarray]:
        """Decode again from the start and keep the frames with these ordinals."""
        wanted, painter, found = set(ordinals), Painter(), dict[int, np.ndarray]()
        for ordinal, frame in enumerate(self._frames(self.index.first)):
            if ordinal in wanted:
                found[ordinal] = painter.paint(frame, max_side_px)
                if len(found) == len(wanted):
                    break
        if len(found) != len(wanted):
            raise MediaError(f"{self.name}: decoding twice gave different frames;", remedy="the file is damaged: convert it again.")
        self.notes.extend(painter.notes)
        return [found[o] for o in ordinals]

    def _time(self, frame: VideoFrame, nth: int, known_T: np.ndarray) -> float | None:
        """When a frame is shown: its stamp, or the n-th known time where the file has no stamps."""
        if self.index.counted:
            return float(known_T[nth]) if nth < len(known_T) else None
        if frame.pts is None:
            return None
        return float(frame.pts * self.index.kept[0].packet.time_base) - self.index.zero_s

    def _frames(self, start: int) -> Iterator[VideoFrame]:
        """Decode from a packet on, to the end of the span, in order of presentation."""
        if self._used:
            self._context.flush_buffers()
            self._fed_s.clear()
        self._used = True
        first, leading = self.index.kept[start], not self.index.counted
        for kept in self.index.kept[start:]:
            if leading and kept.time_s < first.time_s:
                continue  # leads an open group of pictures: refers to the group before, which is not decoded here
            leading = leading and kept is first  # only what follows the key frame directly; a later stamp may be a wrong one
            yield from self._feed(kept.packet, kept.time_s)
        yield from self._feed(None, self.index.kept[-1].time_s)

    def _feed(self, packet: Packet[VideoStream] | None, time_s: float) -> list[VideoFrame]:
        """Give the decoder one packet (None: no more) and take what comes out."""
        self._fed_s.append(time_s)  # frame threads answer for the packet that was fed as many packets ago
        at = f"at {self._fed_s[0] - self.index.start_s:.2f} s of the span"
        try:
            frames = self._context.decode(packet)
        except MemoryError:
            raise
        except _FAILURES as error:
            if self.strict:
                raise Damage(f"{at} ({getattr(error, 'strerror', None) or error})") from error
            self._errors += 1
            return []
        if self.strict and any(frame.is_corrupt for frame in frames):
            raise Damage(f"{at} (the decoder marked the frame as corrupt)")
        return frames
