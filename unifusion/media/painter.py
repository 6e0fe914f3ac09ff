"""One decoded frame -> upright RGB of the wanted size."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

__all__ = ["Painter", "orientation", "scaled"]


def scaled(width: int, height: int, max_side_px: int | None) -> tuple[int, int]:
    """Return the size with the longer side at most `max_side_px`, aspect kept, never larger than before."""
    if not max_side_px or max(width, height) <= max_side_px:
        return width, height
    ratio = max_side_px / max(width, height)
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return (quarter turns counter-clockwise, mirrored left-right before turning) of the frame's display matrix.

    FFmpeg's matrix is a row-major 3x3 of 16.16 fixed point; phones write pure quarter turns, front cameras also mirror.
    """
    sides: Iterable[Any] = frame.side_data or ()  # PyAV's stub calls it a dict; it is a container of buffers
    data = next((bytes(side) for side in sides if side.type.name == "DISPLAYMATRIX"), b"")
    if len(data) < 36:
        return 0, False
    a, b, _, c, d = struct.unpack_from("=5i", data)
    mirrored = a * d - b * c < 0
    if mirrored:  # as av_display_matrix_flip with hflip does: negate the first column
        a, c = -a, -c
    angle = math.degrees(math.atan2(-b, a)) if (a or b) else 0.0
    return round(angle / 90) % 4, mirrored


class Painter:
    """Converts frames with one swscale context; all frames come out in the size of the first."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._stored: tuple[int, int] | None = None

    def paint(self, frame: VideoFrame, max_side_px: int | None) -> np.ndarray:
        """Return the frame as (H,W,3) uint8 RGB, upright."""
        if self._size is None:
            self._stored = (frame.width, frame.height)
            self._size = scaled(frame.width, frame.height, max_side_px)
        if (frame.width, frame.height) != self._stored and not self.notes:
            self.notes.append(f"the picture changes its size to {frame.width}x{frame.height}; scaled to that of the first frame")
        width, height = self._size
        rgb = self._reformatter.reformat(frame, width=width, height=height, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1)
        picture_HWC = rgb.to_ndarray()
        turns, mirrored = orientation(frame)
        if mirrored:
            picture_HWC = picture_HWC[:, ::-1]
        return np.ascontiguousarray(np.rot90(picture_HWC, turns))
