"""Outlines as arrays of corners, and the arithmetic they need to be equal on every machine.

Only + - * / and square root are used on floats (IEEE 754 rounds these alike everywhere); sine comes from a polynomial and chance from
an integer hash, because the C library's sine and a random generator's stream may differ between machines and versions.
"""

from __future__ import annotations

import numpy as np

__all__ = ["chance", "circle", "curve", "outline", "polygon_of", "ribbon", "ring", "sine", "smoothstep"]

_MASK = (1 << 64) - 1


def chance(*keys: int) -> float:
    """Return a number in [0, 1) that depends on the integer keys alone (splitmix64 of each in turn)."""
    state = 0x9E3779B97F4A7C15
    for key in keys:
        state = (state ^ (key & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 30)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return (state >> 11) / (1 << 53)


def sine(turns: np.ndarray | float) -> np.ndarray:
    """Return sin(2 pi turns), elementwise, by a polynomial with an error below 4e-6."""
    phase = np.asarray(turns, dtype=np.float64)
    phase = phase - np.floor(phase + 0.5)
    phase = np.where(phase > 0.25, 0.5 - phase, np.where(phase < -0.25, -0.5 - phase, phase))
    x = phase * 6.283185307179586
    square = x * x
    return x * (1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square / 362880))))


def smoothstep(x: np.ndarray | float) -> np.ndarray:
    """Return 0 below 0, 1 above 1 and a cubic with flat ends between."""
    x = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
    return np.asarray(x * x * (3 - 2 * x))


def circle(n: int = 24) -> np.ndarray:
    """Return (n, 2) corners of the unit circle, from the right, clockwise on the screen."""
    turns = np.arange(n) / n
    return np.stack([sine(turns + 0.25), sine(turns)], axis=1)


def curve(n: int = 9) -> np.ndarray:
    """Return (n,) positions from -1 to 1, at which curves from corner to corner are sampled."""
    return np.arange(n) / (n - 1) * 2 - 1


def outline(points_TP2: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """Return one side of a line: the points moved by `width` along the normals of the path, (T, P, 2)."""
    ahead = np.concatenate([points_TP2[:, 1:], points_TP2[:, -1:]], axis=1)
    behind = np.concatenate([points_TP2[:, :1], points_TP2[:, :-1]], axis=1)
    along = ahead - behind
    length = np.sqrt(along[..., 0] * along[..., 0] + along[..., 1] * along[..., 1])
    length = np.maximum(length, 1e-9)
    normal = np.stack([-along[..., 1] / length, along[..., 0] / length], axis=2)
    return points_TP2 + normal * np.asarray(width, dtype=np.float64)[..., None]


def ribbon(points_TP2: np.ndarray, width: np.ndarray | float) -> np.ndarray:
    """Return the closed outline (T, 2P, 2) of a line through the points; `width` broadcasts to (T, P)."""
    half = np.broadcast_to(np.asarray(width, dtype=np.float64) / 2, points_TP2.shape[:2])
    return np.concatenate([outline(points_TP2, half), outline(points_TP2, -half)[:, ::-1]], axis=1)


def ring(outer_TP2: np.ndarray, inner_TP2: np.ndarray) -> np.ndarray:
    """Return one outline of the area between two closed outlines (their seam has no width)."""
    parts = [outer_TP2, outer_TP2[:, :1], inner_TP2[:, :1], inner_TP2[:, :0:-1], inner_TP2[:, :1]]
    return np.concatenate(parts, axis=1)


def polygon_of(shape: str) -> np.ndarray:
    """Return (P, 2) corners of one of `script.SHAPES` around the origin, of like area for all shapes.

    Raises:
        KeyError: there is no such shape.
    """
    return _POLYGONS[shape]


def _star() -> np.ndarray:
    """Five points, inner radius 0.5, made from ten corners of a circle that starts at the top."""
    turns = np.arange(10) / 10 - 0.25
    radius = np.where(np.arange(10) % 2 == 0, 1.3, 0.55)
    return np.stack([sine(turns + 0.25), sine(turns)], axis=1) * radius[:, None]


_POLYGONS = {
    "circle": circle(28) * 0.98,
    "square": np.array([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]),
    "triangle": np.array([(0.0, -1.15), (1.15, 0.9), (-1.15, 0.9)]),
    "star": _star(),
    "diamond": np.array([(0.0, -1.35), (0.85, 0.0), (0.0, 1.35), (-0.85, 0.0)]),
}
