"""A canvas of T frames that fills polygons with anti-aliasing in integer arithmetic.

Why not a drawing library: what a rasteriser makes of an edge depends on its version and on the compiler's use of fused
multiply-add, and the arrays of clip world must be equal to the bit everywhere. Here every step after rounding the corners is
integer, and one call draws a polygon into all frames at once, which is also what makes it fast.
"""

from __future__ import annotations

import numpy as np

__all__ = ["SUBPIXELS", "Canvas"]

SUBPIXELS = 16
"""Corners are rounded to 1/16 px."""
_LINES = 4
"""Scan lines per pixel row; coverage across a row is exact, so alpha has 64 steps."""
_STEP = SUBPIXELS // _LINES
_FULL = SUBPIXELS * _LINES

Colour = tuple[int, int, int]


class Canvas:
    """T frames of the same size.

    Args:
        ground_HWC: uint8 picture that every frame starts from.
        frames: T.
    """

    def __init__(self, ground_HWC: np.ndarray, frames: int) -> None:
        """Copy the ground into every frame."""
        # Channels before rows: the inner loops of `fill` then run along whole rows.
        self._frames_TCHW = np.repeat(ground_HWC.transpose(2, 0, 1).astype(np.int16)[None], frames, axis=0)

    @property
    def frames_THWC(self) -> np.ndarray:
        """The frames as uint8."""
        return np.ascontiguousarray(self._frames_TCHW.transpose(0, 2, 3, 1), dtype=np.uint8)

    def fill(self, points_TP2: np.ndarray, colour: Colour, alpha_T: np.ndarray | float = 1.0) -> None:
        """Fill one polygon per frame.

        Args:
            points_TP2: corners (x, y) in pixels, in either direction of turn; a polygon must not cross itself.
            colour: RGB.
            alpha_T: opacity in [0, 1] per frame; frames with 0 are left alone.
        """
        alpha_T = np.broadcast_to(np.floor(np.asarray(alpha_T, dtype=np.float64) * 256 + 0.5), points_TP2.shape[:1]).astype(np.int16)
        shown = np.flatnonzero(alpha_T > 0)
        if not len(shown):
            return
        if len(shown) == len(alpha_T):
            shown_rows: np.ndarray | slice = slice(None)
        else:
            shown_rows = shown
        corners_TP2 = np.floor(points_TP2[shown_rows] * SUBPIXELS + 0.5).astype(np.int64)
        box = self._box(corners_TP2)
        if box is None:
            return
        top, bottom, left, right = box
        cover_Thw = _coverage(corners_TP2, box)
        weights_T = alpha_T[shown_rows]
        if (weights_T < 256).any():
            cover_Thw = (cover_Thw * weights_T[:, None, None] + 128) >> 8
        region = self._frames_TCHW[shown_rows, :, top:bottom, left:right]
        change = np.asarray(colour, dtype=np.int16)[:, None, None] - region
        change *= cover_Thw[:, None]
        change += _FULL // 2
        change >>= 6
        self._frames_TCHW[shown_rows, :, top:bottom, left:right] = region + change

    def _box(self, corners_TP2: np.ndarray) -> tuple[int, int, int, int] | None:
        """Return the pixel box (top, bottom, left, right) of all corners within the canvas, None when it is empty."""
        height, width = self._frames_TCHW.shape[2:]
        low, high = corners_TP2.min(axis=(0, 1)), corners_TP2.max(axis=(0, 1))
        left, top = max(0, int(low[0]) // SUBPIXELS), max(0, int(low[1]) // SUBPIXELS)
        right, bottom = min(width, int(high[0]) // SUBPIXELS + 1), min(height, int(high[1]) // SUBPIXELS + 1)
        return (top, bottom, left, right) if top < bottom and left < right else None


def _coverage(corners_TP2: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Return how much of each pixel of `box` the polygons cover: int16 (T, h, w) from 0 to 64.

    Each crossing of an edge with a scan line adds its signed share to its pixel and the next; a running sum along the row
    then gives the winding number times the covered area (the accumulation buffer of font rasterisers).
    """
    top, bottom, left, right = box
    frames, height, width = len(corners_TP2), bottom - top, right - left
    start_TP2, end_TP2 = corners_TP2, np.roll(corners_TP2, -1, axis=1)
    x0, y0 = start_TP2[..., 0].ravel(), start_TP2[..., 1].ravel()
    dx, dy = end_TP2[..., 0].ravel() - x0, end_TP2[..., 1].ravel() - y0
    frame = np.repeat(np.arange(frames), corners_TP2.shape[1])
    half = _STEP // 2
    first = np.clip((np.minimum(y0, y0 + dy) - half + _STEP - 1) // _STEP, top * _LINES, bottom * _LINES)
    last = np.clip((np.maximum(y0, y0 + dy) - half + _STEP - 1) // _STEP, top * _LINES, bottom * _LINES)
    count = last - first
    edge = np.repeat(np.arange(len(count)), count)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    x = x0[edge] + ((line * _STEP + half - y0[edge]) * dx[edge]) // dy[edge]
    x = np.clip(x - left * SUBPIXELS, 0, width * SUBPIXELS)
    share = x & (SUBPIXELS - 1)
    sign = np.sign(dy[edge])
    cell = (frame[edge] * height + line // _LINES - top) * (width + 2) + x // SUBPIXELS
    cells = frames * height * (width + 2)
    total = np.bincount(cell, weights=sign * (SUBPIXELS - share), minlength=cells)
    total += np.bincount(cell + 1, weights=sign * share, minlength=cells)
    sums = np.cumsum(total.astype(np.int16).reshape(frames, height, width + 2)[..., :width], axis=2, dtype=np.int16)
    return np.minimum(np.abs(sums), _FULL)
