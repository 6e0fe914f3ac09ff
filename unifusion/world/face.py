"""The moving part of a face, drawn boldly enough to be read at 96 px: brows, eyes, nose, folds and mouth."""

from __future__ import annotations

import numpy as np

from unifusion.world.canvas import Canvas, Colour
from unifusion.world.features import FaceState
from unifusion.world.head import EYE_X, EYE_Y, Pose, draw_back, draw_front_hair, draw_glasses, draw_head, mix
from unifusion.world.script import Identity
from unifusion.world.shapes import circle, curve, ribbon

__all__ = ["draw_face"]

_WHITE: Colour = (250, 250, 246)
_DARK: Colour = (22, 14, 14)
_TEETH: Colour = (248, 246, 236)
_CAVITY: Colour = (84, 14, 22)
_MOUTH_Y = 0.46
_BROW_Y = -0.35


def draw_face(canvas: Canvas, pose: Pose, look: Identity, state: FaceState) -> None:
    """Draw one person at T moments, from back to front."""
    draw_back(canvas, pose, look)
    draw_head(canvas, pose, look, state.jaw_T)
    _draw_folds(canvas, pose, look, state)
    _draw_nose(canvas, pose, look, state)
    for side, column in ((-1, 0), (1, 1)):
        _draw_eye(canvas, pose, look, state, side, column)
    draw_front_hair(canvas, pose, look)
    if look.glasses:
        draw_glasses(canvas, pose, look)
    for side, column in ((-1, 0), (1, 1)):
        _draw_brow(canvas, pose, look, state, side, column)
    _draw_mouth(canvas, pose, look, state)


def _line_colour(look: Identity) -> Colour:
    """Return a colour for folds that is seen on the skin."""
    return mix(look.skin, (30, 8, 6), 0.55) if sum(look.skin) > 300 else mix(look.skin, (0, 0, 0), 0.75)


def _stack(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return points (T, P, 2) of coordinates that broadcast to (T, P)."""
    return np.stack(np.broadcast_arrays(x, y), axis=2)


def _band(x: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Return the outline (T, 2P, 2) of the area between two curves over the same x."""
    return np.concatenate([_stack(x, upper), _stack(x, lower)[:, ::-1]], axis=1)


def _draw_eye(canvas: Canvas, pose: Pose, look: Identity, state: FaceState, side: int, column: int) -> None:
    """Draw white, iris and pupil cut by the lids, then the lids' edges."""
    u = curve(11)
    middle = side * EYE_X * look.eye_spacing
    arch = (1 - u * u)[None]
    upper_TP = EYE_Y - state.lid_upper_T2[:, column, None] * arch
    lower_TP = np.maximum(EYE_Y + state.lid_lower_T2[:, column, None] * arch, upper_TP)
    x_P = middle + 0.2 * u
    canvas.fill(pose(_band(x_P[None], upper_TP, lower_TP)), _WHITE)
    iris = mix(look.hair, (40, 70, 110), 0.6)
    for radius, colour in ((0.105, mix(iris, (0, 0, 0), 0.35)), (0.06, _DARK)):
        disc = circle(20) * radius
        bend = (1 - (disc[:, 0] / 0.2) ** 2)[None]
        top, bottom = EYE_Y - state.lid_upper_T2[:, column, None] * bend, EYE_Y + state.lid_lower_T2[:, column, None] * bend
        y_TP = np.clip(EYE_Y + 0.005 + disc[None, :, 1], top, np.maximum(top, bottom))
        canvas.fill(pose(_stack(middle + disc[None, :, 0], y_TP)), colour)
    canvas.fill(pose(ribbon(_stack(x_P[None], upper_TP), 0.055)), _DARK)
    canvas.fill(pose(ribbon(_stack(x_P[None], lower_TP), 0.025)), _line_colour(look))


def _draw_brow(canvas: Canvas, pose: Pose, look: Identity, state: FaceState, side: int, column: int) -> None:
    """Draw a brow as a tapered stroke whose ends move on their own; a raised outer end arches it."""
    s = (curve(7) + 1) / 2
    inner, outer = state.brow_inner_T2[:, column, None], state.brow_outer_T2[:, column, None]
    rise = inner * (1 - s) + outer * s
    arch = (0.05 + 0.35 * np.clip(outer - 0.3 * state.frown_T2[:, column, None] * 0.17, 0.0, None)) * (4 * s * (1 - s))
    middle = EYE_X * look.eye_spacing
    x = middle - 0.23 - state.brow_pull_T2[:, column, None] + (0.49 + state.brow_pull_T2[:, column, None]) * s
    path = _stack(side * x, _BROW_Y - rise - arch)
    colour = mix(look.hair, (0, 0, 0), 0.6)
    if sum(look.skin) <= 300:  # a black brow is lost on dark skin at 96 px: the ridge under it catches light
        colour = (8, 6, 8)
        canvas.fill(pose(ribbon(path + np.array([0.0, 0.02]), 0.19 - 0.06 * s)), mix(look.skin, (255, 225, 190), 0.4))
    canvas.fill(pose(ribbon(path, 0.1 - 0.045 * s)), colour)


def _draw_nose(canvas: Canvas, pose: Pose, look: Identity, state: FaceState) -> None:
    """Draw the nose; AU9 lifts its wings and puts three folds across its bridge."""
    line = _line_colour(look)
    lift = 0.06 * state.nose_T2.mean(axis=1)[:, None]
    x = np.array([-0.14, -0.15, -0.08, 0.0, 0.08, 0.15, 0.14])
    y = np.array([0.13, 0.2, 0.235, 0.22, 0.235, 0.2, 0.13])
    canvas.fill(pose(ribbon(_stack(x[None], y - lift), 0.05)), line)
    strength = state.nose_T2.max(axis=1)
    for height in (-0.12, -0.03, 0.06):
        fold = np.array([[(-0.13, height + 0.03), (0.0, height - 0.02), (0.13, height + 0.03)]])
        canvas.fill(pose(ribbon(fold, 0.045)[0]), line, strength)


def _draw_folds(canvas: Canvas, pose: Pose, look: Identity, state: FaceState) -> None:
    """Draw the skin's folds and the raised cheeks, each as strong as its action unit."""
    line = _line_colour(look)
    blush = mix(look.skin, (230, 70, 70), 0.5)
    for side, column in ((-1, 0), (1, 1)):
        cheek, frown, forehead, nose = (p[:, column] for p in (state.cheek_T2, state.frown_T2, state.forehead_T2, state.nose_T2))
        canvas.fill(pose(circle(20) * (0.17, 0.12) + (side * 0.46, 0.2)), blush, cheek * 0.85)
        x = side * (EYE_X * look.eye_spacing + 0.24)
        for tilt in (-0.06, 0.05):
            crow = np.array([[(x, EYE_Y + 0.02 + tilt * 0.3), (x + side * 0.1, EYE_Y + 0.02 + tilt)]])
            canvas.fill(pose(ribbon(crow, 0.03)[0]), line, cheek)
        upright = np.array([[(side * 0.055, -0.36), (side * 0.045, -0.2)]])
        canvas.fill(pose(ribbon(upright, 0.04)[0]), line, frown * 0.9)
        level = np.array([[(side * 0.04, -0.63), (side * 0.25, -0.645), (side * 0.42, -0.62)]])
        canvas.fill(pose(ribbon(level, 0.03)[0]), line, forehead * 0.6)
        groove = np.array([[(side * 0.19, 0.14), (side * 0.32, 0.24), (side * 0.4, 0.4)]])
        canvas.fill(pose(ribbon(groove, 0.045)[0]), line, nose)


def _draw_mouth(canvas: Canvas, pose: Pose, look: Identity, state: FaceState) -> None:
    """Draw lips, opening, teeth, the line between closed lips, and dimples."""
    s = curve(15)
    left, right = state.corner_out_T2[:, :1], state.corner_out_T2[:, 1:]
    x_TP = np.where(s < 0, left, right) * s
    corner_TP = np.where(s < 0, state.corner_up_T2[:, :1], state.corner_up_T2[:, 1:])
    mean_up = state.corner_up_T2.mean(axis=1)[:, None]
    line_TP = _MOUTH_Y + 0.3 * mean_up - corner_TP * (s * s)
    arch = 1 - s * s
    square = state.square_T[:, None]
    bulge = np.sqrt(arch) * (1 - square) + square * np.minimum(1.0, 2.2 * np.sqrt(arch))
    top = line_TP - state.open_up_T[:, None] * bulge
    bottom = line_TP + state.open_down_T[:, None] * bulge
    lip = state.lip_T[:, None]
    fullness = 0.3 + 0.7 * np.sqrt(arch)
    lips = mix(look.skin, (176, 40, 52), 0.62) if sum(look.skin) > 300 else mix(look.skin, (216, 100, 104), 0.8)
    canvas.fill(pose(_band(x_TP * 1.06, top - 0.75 * lip * fullness, bottom + lip * fullness)), lips)
    canvas.fill(pose(_band(x_TP, top, bottom)), _CAVITY)
    _draw_teeth(canvas, pose, state, (x_TP, top, bottom, bulge))
    shut = np.clip(1 - (state.open_down_T + state.open_up_T) / 0.05, 0.0, 1.0)
    canvas.fill(pose(ribbon(_stack(x_TP * 1.05, line_TP), 0.015 + 0.4 * lip)), _DARK, shut)
    for side, column in ((-1, 0), (1, 1)):
        x = side * (state.corner_out_T2[:, column, None] + 0.08)
        y = _MOUTH_Y - state.corner_up_T2[:, column, None]
        bow = _stack(x + side * np.array([[0.0, 0.06, 0.0]]), y + np.array([[-0.14, 0.0, 0.14]]))
        canvas.fill(pose(ribbon(bow, 0.075)), _line_colour(look), state.dimple_T2[:, column])


def _draw_teeth(canvas: Canvas, pose: Pose, state: FaceState, lips: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> None:
    """Draw the upper teeth of a smile or grimace and the lower teeth of AU16 and AU20 within the opening."""
    x_TP, top, bottom, bulge = lips
    smile = np.clip(state.corner_up_T2.min(axis=1) / 0.1, 0.0, 1.0)
    upper = np.maximum(smile, state.lower_teeth_T)[:, None] * 0.09
    canvas.fill(pose(_band(x_TP, top, np.minimum(top + upper * bulge, bottom))), _TEETH)
    lower = state.lower_teeth_T[:, None] * 0.07
    canvas.fill(pose(_band(x_TP, np.maximum(bottom - lower * bulge, top), bottom)), _TEETH)
