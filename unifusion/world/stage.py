"""Where things are in the picture: the face, the room that objects move in, the sign, the background.

A face alone stands in the middle, 70 % of the picture high. With objects or a sign it stands left, 56 % high, and they have the right
part to themselves, so nothing ever hides brows, eyes or mouth. All coordinates are fractions of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from unifusion.errors import ConfigError, nearest
from unifusion.world.script import COLOURS, DIRECTIONS, SHAPES, SIZES, ObjectTrack, Script
from unifusion.world.shapes import chance, sine

__all__ = ["BESIDE_FACE", "COLOUR_RGB", "RADIUS", "Arena", "Stage", "background", "check_objects", "object_position", "stage_of"]

COLOUR_RGB: dict[str, tuple[int, int, int]] = {
    "red": (214, 32, 40), "green": (36, 160, 60), "blue": (40, 80, 225), "yellow": (250, 225, 40),
    "orange": (248, 136, 20), "purple": (142, 50, 180), "white": (252, 252, 252), "black": (14, 14, 16),
}  # fmt: skip
RADIUS = {"small": 0.045, "medium": 0.07, "large": 0.1}
"""Size -> radius as a fraction of the picture's width."""
_REACH = 1.35
"""The furthest corner of a shape in radii, outline included."""
_ORBIT = 0.08


@dataclass(frozen=True)
class Arena:
    """The rectangle that objects stay in."""

    left: float
    top: float
    right: float
    bottom: float

    def inside(self, margin: float) -> Arena:
        """The rectangle for centres of things that reach `margin` around them; never thinner than 1 % of the picture."""
        dx, dy = min(margin, (self.right - self.left - 0.01) / 2), min(margin, (self.bottom - self.top - 0.01) / 2)
        return Arena(self.left + dx, self.top + dy, self.right - dx, self.bottom - dy)


BESIDE_FACE = Arena(0.55, 0.0, 1.0, 1.0)
_EVERYWHERE = Arena(0.0, 0.0, 1.0, 1.0)
_STRIP = 0.27


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The layout of one clip. It does not change during the clip."""

    face_x: float
    face_y: float
    face_unit: float
    """Half of the head's height."""
    arena: Arena
    """Where objects move."""
    sign_box: Arena | None
    """The sign's board, None without a sign."""
    letter_height: float = 0.0


def stage_of(script: Script) -> Stage:
    """Lay out a clip."""
    shared = bool(script.objects) or script.sign is not None
    room = BESIDE_FACE if script.identity is not None else _EVERYWHERE
    board, height = (None, 0.0) if script.sign is None else _sign_box(script.sign.text, script.sign.x, script.sign.y, room)
    arena = room
    if board is not None:
        upper = board.top < 0.5
        arena = Arena(room.left, _STRIP if upper else 0.0, room.right, 1.0 if upper else 1.0 - _STRIP)
    place = {"face_x": 0.275, "face_y": 0.53, "face_unit": 0.28} if shared else {"face_x": 0.5, "face_y": 0.53, "face_unit": 0.35}
    return Stage(**place, arena=arena, sign_box=board, letter_height=height)


def _sign_box(text: str, x: float, y: float, room: Arena) -> tuple[Arena, float]:
    """Return the board of a sign near (x, y) in the strip at the top or bottom of `room`, and its letters' height.

    A letter is 0.66 as wide as high and takes 0.9 of its height; the board has a margin of a third of a letter.
    """
    margin = 0.035
    height = min(0.18, (room.right - room.left - 2 * margin - 0.02) / (0.9 * len(text) - 0.24))
    width = height * (0.9 * len(text) - 0.24)
    half_x, half_y = width / 2 + margin, height / 2 + margin
    middle_x = min(max(x, room.left + half_x + 0.01), room.right - half_x - 0.01)
    low, high = (half_y + 0.01, _STRIP - half_y) if y < 0.5 else (1 - _STRIP + half_y, 1 - half_y - 0.01)
    middle_y = min(max(y, low), max(low, high))
    return Arena(middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y), height


def object_position(track: ObjectTrack, time_s: float, arena: Arena = BESIDE_FACE) -> tuple[float, float]:
    """Return the centre (x, y) of an object at `time_s` as fractions of the picture.

    When the object appears it is at the track's x, folded into the arena, and at the track's y, where 0..1 spans the arena's
    height (so lanes stay apart above or below a sign). Straight movements come in again at the other
    side, `bounce` is a diagonal that turns back at the arena's edges, `circle` goes round a point of the arena.

    Args:
        track: the object.
        time_s: seconds from the clip's start.
        arena: `stage_of(script).arena`; the default is right for a clip with a face and no sign.
    """
    inner = arena.inside(RADIUS[track.size] * _REACH)
    if track.direction in ("left", "right", "bounce"):
        # Beside a face there is little room across: let them touch the edges rather than turn back every half second.
        across = arena.inside(RADIUS[track.size] * 0.5)
        inner = Arena(across.left, inner.top, across.right, inner.bottom)
    path = track.speed * (time_s - track.start_s)
    start_y = arena.top + track.y * (arena.bottom - arena.top)
    if track.direction == "circle":
        inner = inner.inside(_ORBIT)
        turns = path / (_ORBIT * 6.283185307179586) * (1 if chance(track.seed, 5) < 0.5 else -1) + chance(track.seed, 6)
        x, y = _wrap(track.x, inner.left, inner.right), _wrap(start_y, inner.top, inner.bottom)
        return x + _ORBIT * float(sine(turns + 0.25)), y + _ORBIT * float(sine(turns))
    if track.direction == "bounce":
        step_x, step_y = (0.7 if chance(track.seed, key) < 0.5 else -0.7 for key in (7, 8))
        x, y = _wrap(track.x, inner.left, inner.right), _wrap(start_y, inner.top, inner.bottom)
        return _reflect(x + step_x * path, inner.left, inner.right), _reflect(y + step_y * path, inner.top, inner.bottom)
    step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}[track.direction]
    return _wrap(track.x + step[0] * path, inner.left, inner.right), _wrap(start_y + step[1] * path, inner.top, inner.bottom)


def _wrap(value: float, low: float, high: float) -> float:
    """Fold into [low, high) by going round."""
    return low + (value - low) % (high - low) if not low <= value <= high else value


def _reflect(value: float, low: float, high: float) -> float:
    """Fold into [low, high] by turning back at the ends."""
    span = high - low
    phase = (value - low) % (2 * span)
    return low + min(phase, 2 * span - phase)


def check_objects(script: Script) -> None:
    """Refuse objects the renderer cannot draw.

    Raises:
        ConfigError: an unknown shape, colour, size or direction.
    """
    for track in script.objects:
        for value, known in ((track.shape, SHAPES), (track.colour, COLOURS), (track.size, SIZES), (track.direction, DIRECTIONS)):
            if value not in known:
                raise ConfigError(f"clip world has no {value!r};", remedy=nearest(value, list(known)))


@lru_cache(maxsize=32)
def background(size_px: int, rgb: tuple[int, int, int], seed: int) -> np.ndarray:
    """Return the background (H, W, 3) uint8: the colour with a mild slope of light and soft patches from the seed."""
    cells = 6
    lattice = np.array([[int(chance(seed, 91, i, j) * 25) - 12 for j in range(cells + 1)] for i in range(cells + 1)], dtype=np.int64)
    at = np.arange(size_px, dtype=np.int64) * cells
    cell, part = at // size_px, at % size_px
    rows = lattice[cell] * (size_px - part)[:, None] + lattice[cell + 1] * part[:, None]
    both = rows[:, cell] * (size_px - part) + rows[:, cell + 1] * part
    patches_HW = both // (size_px * size_px)
    slope = int(chance(seed, 92) * 31) - 15
    slope_H1 = (slope * (2 * np.arange(size_px, dtype=np.int64) - size_px) // size_px)[:, None]
    out = np.clip(np.array(rgb, dtype=np.int64) + (patches_HW + slope_H1)[..., None], 0, 255).astype(np.uint8)
    out.flags.writeable = False
    return out
