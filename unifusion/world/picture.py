"""The picture of a script: frames at any times, each a pure function of (script, time), equal to the bit on every machine.

From back to front: background, sign, objects from large to small, person. Nothing stands before the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from unifusion.errors import ConfigError
from unifusion.world.canvas import Canvas, Colour
from unifusion.world.expression import ACTION_UNITS, AU_OF_EMOTION, action_unit_intensities
from unifusion.world.face import draw_face
from unifusion.world.features import face_state, landmarks, sway
from unifusion.world.head import place_of
from unifusion.world.letters import strokes
from unifusion.world.script import ObjectTrack, Script
from unifusion.world.shapes import polygon_of, ribbon
from unifusion.world.stage import COLOUR_RGB, RADIUS, Stage, background, check_objects, object_position, stage_of

__all__ = [
    "ACTION_UNITS",
    "AU_OF_EMOTION",
    "COLOUR_RGB",
    "action_unit_intensities",
    "landmarks",
    "object_position",
    "render_frames",
    "stage_of",
]

_BLOCK = 32
"""Frames drawn at once: enough to spread the cost of a call, few enough to stay in the cache."""


def render_frames(script: Script, times_s: Sequence[float] | np.ndarray, mouth_T: np.ndarray | None = None) -> np.ndarray:
    """Draw the frames of `script` at the given times.

    Args:
        script: what to draw, at `script.size_px`.
        times_s: (T,) seconds from the clip's start, any subset in any order.
        mouth_T: (T,) opening of the mouth by speech in [0, 1] at those times (`sound.mouth_opening`); None keeps it to the expression.

    Returns:
        uint8 (T, H, W, 3) RGB. Whether the clip has a picture at all (`script.has_picture`) is the caller's to ask.

    Raises:
        ConfigError: `mouth_T` and the times differ in number, or the script names a shape, colour, hair style, action unit
            or letter that cannot be drawn.
    """
    times_T = np.asarray(times_s, dtype=np.float64)
    if mouth_T is not None and len(mouth_T) != len(times_T):
        raise ConfigError(f"{len(mouth_T)} mouth openings for {len(times_T)} times;", remedy="give one opening per time.")
    stage = stage_of(script)
    check_objects(script)
    ground = background(script.size_px, script.background_rgb, script.seed * 1_000_003 + script.index)
    out = np.empty((len(times_T), *ground.shape), dtype=np.uint8)
    for start in range(0, len(times_T), _BLOCK):
        part = slice(start, start + _BLOCK)
        canvas = Canvas(ground, len(times_T[part]))
        _draw_sign(canvas, script, stage, times_T[part])
        for track in sorted(script.objects, key=lambda t: -RADIUS[t.size]):  # small ones in front: none is ever covered whole
            _draw_object(canvas, script.size_px, track, stage, times_T[part])
        _draw_person(canvas, script, stage, times_T[part], None if mouth_T is None else mouth_T[part])
        out[part] = canvas.frames_THWC
    return out


def _draw_person(canvas: Canvas, script: Script, stage: Stage, times_T: np.ndarray, mouth_T: np.ndarray | None) -> None:
    """Draw the face, when somebody is in the picture."""
    look = script.identity
    if look is None:
        return
    size = script.size_px
    pose = place_of(look, (stage.face_x * size, stage.face_y * size), stage.face_unit * size, sway(look.seed, times_T))
    draw_face(canvas, pose, look, face_state(script, times_T, mouth_T))


def _contrast(rgb: Colour) -> Colour:
    """Return white or near-black, whichever differs more from `rgb`."""
    return (250, 250, 250) if 3 * rgb[0] + 6 * rgb[1] + rgb[2] < 1100 else (16, 16, 20)


def _present(start_s: float, end_s: float, times_T: np.ndarray) -> np.ndarray:
    """Return 1.0 where `start_s` <= t < `end_s`."""
    return ((times_T >= start_s) & (times_T < end_s)).astype(np.float64)


def _draw_object(canvas: Canvas, size_px: int, track: ObjectTrack, stage: Stage, times_T: np.ndarray) -> None:
    """Draw one object where it is present, with an outline that is seen on any background."""
    colour = COLOUR_RGB[track.colour]
    middle_T12 = np.array([object_position(track, float(t), stage.arena) for t in times_T])[:, None, :] * size_px
    corners = polygon_of(track.shape)
    radius = RADIUS[track.size] * size_px
    rim = max(1.0, 0.011 * size_px)
    shown_T = _present(track.start_s, track.end_s, times_T)
    canvas.fill(middle_T12 + corners * (radius + rim), _contrast(colour), shown_T)
    canvas.fill(middle_T12 + corners * radius, colour, shown_T)


def _draw_sign(canvas: Canvas, script: Script, stage: Stage, times_T: np.ndarray) -> None:
    """Draw a white board with a dark rim and the sign's text in strokes."""
    sign, box = script.sign, stage.sign_box
    if sign is None or box is None:
        return
    size, shown_T = script.size_px, _present(sign.start_s, sign.end_s, times_T)
    for inset, colour in ((0.0, (30, 34, 60)), (0.013, (252, 250, 240))):
        left, top, right, bottom = box.left + inset, box.top + inset, box.right - inset, box.bottom - inset
        corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) * size
        canvas.fill(np.broadcast_to(corners, (len(times_T), 4, 2)), colour, shown_T)
    height = stage.letter_height
    left, top = (box.left + box.right - height * (0.9 * len(sign.text) - 0.24)) / 2, (box.top + box.bottom - height) / 2
    for i, character in enumerate(sign.text):
        for stroke in strokes(character):
            path = (stroke * (0.66 * height, height) + (left + 0.9 * height * i, top)) * size
            for a, b in pairwise(path):
                piece = _segment(a, b, max(1.6, 0.15 * height * size))
                canvas.fill(np.broadcast_to(piece, (len(times_T), *piece.shape)), (16, 18, 40), shown_T)


def _segment(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Return a thick line (4, 2) from `a` to `b`, half as long as it is wide beyond both ends, so that corners close."""
    along = b - a
    reach = along * (width / 2 / float(np.sqrt((along * along).sum())))
    line_P2: np.ndarray = ribbon(np.stack([a - reach, b + reach])[None], width)[0]
    return line_P2
