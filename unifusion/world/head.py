"""The lasting part of a face: head, ears, neck, shoulders, hair, beard, glasses, and the pose that places them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unifusion.errors import ConfigError, nearest
from unifusion.world.canvas import Canvas, Colour
from unifusion.world.script import Identity
from unifusion.world.shapes import chance, circle, curve, ribbon, ring, sine

__all__ = ["EYE_X", "EYE_Y", "HAIR_STYLES", "Pose", "draw_back", "draw_front_hair", "draw_glasses", "draw_head", "mix", "place_of"]

HAIR_STYLES = ("short", "long", "curly", "bald", "fringe", "bun")
EYE_X, EYE_Y = 0.35, -0.08
"""The middle of an eye at rest, in face units."""
_SHIRTS = ((60, 80, 120), (120, 60, 70), (70, 110, 80), (190, 190, 196), (54, 54, 62), (150, 120, 70))


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Maps face units to pixels at T moments: stretch by identity, roll, then the place in the picture."""

    x_T: np.ndarray
    y_T: np.ndarray
    cosine_T: np.ndarray
    sine_T: np.ndarray
    unit_x: float
    unit_y: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Return pixels (T, P, 2) of points (P, 2) or (T, P, 2) in face units."""
        x, y = points[..., 0] * self.unit_x, points[..., 1] * self.unit_y
        c, s = self.cosine_T[:, None], self.sine_T[:, None]
        return np.stack([self.x_T[:, None] + x * c - y * s, self.y_T[:, None] + x * s + y * c], axis=2)


def place_of(identity: Identity, center: tuple[float, float], unit: float, sway: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Pose:
    """Return the pose of a head whose middle rests at `center`; `center` and `unit` are in pixels."""
    x_T, y_T, roll_T = sway
    return Pose(
        x_T=center[0] + unit * x_T,
        y_T=center[1] + unit * y_T,
        cosine_T=sine(roll_T + 0.25),
        sine_T=sine(roll_T),
        unit_x=unit * identity.face_width,
        unit_y=unit * identity.face_height,
    )


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return the colour `share` of the way from `a` to `b`."""
    red, green, blue = (int(p + (q - p) * share + 0.5) for p, q in zip(a, b, strict=True))
    return red, green, blue


def _ellipse(x: float, y: float, rx: float, ry: float, n: int = 24) -> np.ndarray:
    """Return (n, 2) corners of an ellipse."""
    return circle(n) * (rx, ry) + (x, y)


def _skull(jaw_T: np.ndarray, grow: float = 0.0) -> np.ndarray:
    """Return the head's outline (T, P, 2), narrower at the jaw; the chin sinks with the jaw."""
    base = circle(36)
    x, y = base[:, 0] * (0.75 + grow), base[:, 1] * (1.0 + grow)
    below = np.clip(y, 0.0, None)
    x = x * (1 - 0.14 * below * below)
    points = np.stack([np.broadcast_to(x, (len(jaw_T), 36)), y + jaw_T[:, None] * below * below], axis=2)
    return points


def draw_back(canvas: Canvas, pose: Pose, look: Identity) -> None:
    """Draw what lies behind the head: long or curly hair, shoulders, neck.

    Raises:
        ConfigError: an unknown hair style.
    """
    if look.hair_style not in HAIR_STYLES:
        raise ConfigError(f"no hair style {look.hair_style!r};", remedy=nearest(look.hair_style, list(HAIR_STYLES)))
    dark = mix(look.hair, (0, 0, 0), 0.25)
    if look.hair_style == "long":
        canvas.fill(pose(_ellipse(0, -0.2, 0.88, 0.95)), dark)
        canvas.fill(pose(np.array([(-0.88, -0.2), (0.88, -0.2), (0.84, 0.95), (0.6, 1.15), (-0.6, 1.15), (-0.84, 0.95)])), dark)
    if look.hair_style == "curly":
        for i in range(9):
            turn = 0.5 + i / 16
            middle = sine(np.array([turn + 0.25, turn])) * (0.72, 0.82) + (0.0, -0.2)
            canvas.fill(pose(_ellipse(middle[0], middle[1], 0.26, 0.22, 14)), dark)
    if look.hair_style == "bun":
        canvas.fill(pose(_ellipse(0, -1.08, 0.27, 0.22, 16)), dark)
    shirt = _SHIRTS[int(chance(look.seed, 31) * len(_SHIRTS))]
    canvas.fill(pose(_ellipse(0, 1.9, 1.12, 0.78)), shirt)
    neck = mix(look.skin, (60, 20, 10), 0.22)
    canvas.fill(pose(np.array([(-0.27, 0.6), (0.27, 0.6), (0.32, 1.25), (0.0, 1.42), (-0.32, 1.25)])), neck)


def draw_head(canvas: Canvas, pose: Pose, look: Identity, jaw_T: np.ndarray) -> None:
    """Draw ears, head and beard."""
    edge = mix(look.skin, (40, 15, 10), 0.35)
    for side in (-1, 1):
        canvas.fill(pose(_ellipse(side * 0.75, 0.0, 0.1, 0.17, 14)), edge)
        canvas.fill(pose(_ellipse(side * 0.74, 0.0, 0.07, 0.13, 14)), look.skin)
    canvas.fill(pose(_skull(jaw_T, 0.02)), edge)
    canvas.fill(pose(_skull(jaw_T, -0.01)), look.skin)
    if look.beard:
        canvas.fill(pose(_beard(jaw_T)), look.hair)


def _beard(jaw_T: np.ndarray) -> np.ndarray:
    """Return the beard: the jaw from ear to ear, up to under the cheeks; the mouth is drawn over it."""
    skull = _skull(jaw_T, 0.0)
    lower = skull[:, np.flatnonzero(circle(36)[:, 1] > 0.08)]
    s = curve(9)[::-1]
    upper = np.stack([-s * 0.62, 0.28 - 0.12 * s * s * s * s], axis=1)
    return np.concatenate([lower, np.broadcast_to(upper, (len(jaw_T), *upper.shape))], axis=1)


def draw_front_hair(canvas: Canvas, pose: Pose, look: Identity) -> None:
    """Draw the hair over the forehead; it ends above the highest place of a raised brow."""
    if look.hair_style == "bald":
        return
    line = {"short": -0.7, "long": -0.72, "curly": -0.68, "fringe": -0.64, "bun": -0.76}[look.hair_style]
    temple = {"short": -0.28, "long": -0.1, "curly": -0.3, "fringe": -0.32, "bun": -0.3}[look.hair_style]
    turns = 0.5 + np.arange(13) / 24
    crown = np.stack([sine(turns + 0.25) * 0.8, sine(turns) * 0.86 - 0.22], axis=1)
    s = curve(11)[::-1]
    bend = s * s * s * s
    hairline = np.stack([s * 0.79, line + (temple - line) * bend], axis=1)
    if look.hair_style == "short":
        hairline[:, 1] += 0.05 * s * (1 - bend)
    sides = np.array([(0.8, temple)]), np.array([(-0.8, temple)])
    canvas.fill(pose(np.concatenate([crown, sides[0], hairline, sides[1]])), look.hair)


def draw_glasses(canvas: Canvas, pose: Pose, look: Identity) -> None:
    """Draw two rims, the bridge and the temples."""
    x = EYE_X * look.eye_spacing
    colour = (24, 24, 30) if sum(look.skin) > 330 else (235, 205, 120)
    for side in (-1, 1):
        outer, inner = _ellipse(side * x, EYE_Y + 0.02, 0.29, 0.25), _ellipse(side * x, EYE_Y + 0.02, 0.245, 0.205)
        canvas.fill(pose(ring(outer[None], inner[None])[0]), colour)
        temple = np.array([[(side * (x + 0.28), EYE_Y), (side * 0.76, EYE_Y - 0.04)]])
        canvas.fill(pose(ribbon(temple, 0.05)[0]), colour)
    bridge = np.array([[(-x + 0.27, EYE_Y), (0.0, EYE_Y - 0.04), (x - 0.27, EYE_Y)]])
    canvas.fill(pose(ribbon(bridge, 0.05)[0]), colour)
