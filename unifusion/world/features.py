"""A face's moving parts in numbers: what action units, blinks, speech and identity make of brows, lids, nose and mouth.

Lengths are in face units: 1 is half of the head's height, y grows downwards, 0 is the middle of the head. Columns of (T, 2)
arrays are the left and the right half of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unifusion.world.expression import action_unit_curves
from unifusion.world.script import Script
from unifusion.world.shapes import chance, sine, smoothstep

__all__ = ["FaceState", "blink", "face_state", "landmarks", "sway"]

_BLINK_EVERY_S = 3.0
_BLINK_HALF_S = 0.13


@dataclass(frozen=True, kw_only=True)
class FaceState:
    """Where everything that moves is, for T moments."""

    brow_inner_T2: np.ndarray
    """Height of the inner end of the brow over its place at rest; up is positive."""
    brow_outer_T2: np.ndarray
    brow_pull_T2: np.ndarray
    """How far the inner end is drawn to the middle."""
    lid_upper_T2: np.ndarray
    """Upper lid over the middle of the eye."""
    lid_lower_T2: np.ndarray
    """Lower lid below the middle of the eye."""
    cheek_T2: np.ndarray
    """0..1: cheek pushed up, crow's feet."""
    frown_T2: np.ndarray
    """0..1: upright folds between the brows."""
    forehead_T2: np.ndarray
    """0..1: level folds over the brows."""
    nose_T2: np.ndarray
    """0..1: nose wrinkled."""
    corner_up_T2: np.ndarray
    """Lip corner over the line of the mouth at rest."""
    corner_out_T2: np.ndarray
    """Distance of the lip corner from the middle."""
    dimple_T2: np.ndarray
    """0..1."""
    open_up_T: np.ndarray
    """How far the upper lip is above the line of the mouth."""
    open_down_T: np.ndarray
    """How far the lower lip is below it."""
    square_T: np.ndarray
    """0 round opening .. 1 flat and wide opening with both rows of teeth."""
    lip_T: np.ndarray
    """Thickness of the lower lip."""
    lower_teeth_T: np.ndarray
    """0..1."""
    jaw_T: np.ndarray
    """How far the chin is lowered."""


def blink(seed: int, times_s: np.ndarray) -> np.ndarray:
    """Return how far the lids are closed by blinking, (T,) in [0, 1]: once in each 3 s at a moment drawn from the seed."""
    out = np.zeros(len(times_s))
    for i, t in enumerate(times_s):
        cell = int(t // _BLINK_EVERY_S)
        at = (cell + 0.1 + 0.8 * chance(seed, 61, cell)) * _BLINK_EVERY_S
        out[i] = smoothstep(1.5 * (1 - abs(t - at) / _BLINK_HALF_S))
    return out


def sway(seed: int, times_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the head's slow movement: x and y in face units and roll in turns, each (T,)."""

    def wave(key: int, period_s: float) -> np.ndarray:
        return sine(times_s / (period_s * (0.8 + 0.4 * chance(seed, key))) + chance(seed, key + 1))

    x = 0.03 * wave(71, 4.1) + 0.012 * wave(73, 1.7)
    y = 0.025 * wave(75, 3.3) + 0.01 * wave(77, 1.3)
    return x, y, 0.009 * wave(79, 5.3)


def face_state(script: Script, times_s: Sequence[float] | np.ndarray, mouth_T: np.ndarray | None = None) -> FaceState:
    """Pose the face of `script` at T moments.

    Args:
        script: must have an identity.
        times_s: (T,) seconds.
        mouth_T: (T,) opening of the mouth by speech in [0, 1].
    """
    times_T = np.asarray(times_s, dtype=np.float64)
    au = action_unit_curves(script, times_T)
    talk_T = np.zeros(len(times_T)) if mouth_T is None else np.clip(np.asarray(mouth_T, dtype=np.float64), 0.0, 1.0)
    seed = script.identity.seed if script.identity else 0
    return FaceState(**_brows(au), **_lids(au, blink(seed, times_T)), **_middle(au), **_mouth(au, talk_T))


def _brows(au: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """AU1, AU2 raise, AU4 lowers and draws together; with AU1 or AU2 most of AU4's lowering is undone (FACS 1+4, 1+2+4)."""
    lower = au["AU4"] + 0.35 * au["AU9"]
    return {
        "brow_inner_T2": 0.19 * au["AU1"] - 0.15 * lower * (1 - 0.8 * au["AU1"]),
        "brow_outer_T2": 0.17 * au["AU2"] - 0.05 * lower * (1 - 0.5 * au["AU2"]) - 0.05 * au["AU1"] * au["AU4"] * (1 - au["AU2"]),
        "brow_pull_T2": 0.08 * au["AU4"],
    }


def _lids(au: dict[str, np.ndarray], closed_T: np.ndarray) -> dict[str, np.ndarray]:
    """AU5 opens, AU6 pushes the lower lid up, AU7 tightens both, sadness' AU1+4 lets the upper lid sink, a blink closes."""
    droop = au["AU1"] * au["AU4"] * (1 - au["AU5"])
    upper = 0.115 + 0.085 * au["AU5"] - 0.03 * au["AU7"] - 0.03 * au["AU6"] - 0.03 * droop - 0.025 * au["AU9"]
    lower = 0.095 + 0.02 * au["AU5"] * (1 - au["AU7"]) - 0.05 * au["AU7"] - 0.065 * au["AU6"] - 0.035 * au["AU9"]
    left = (1 - closed_T)[:, None]
    return {"lid_upper_T2": upper * left - 0.03 * (1 - left), "lid_lower_T2": lower * left + 0.04 * (1 - left)}


def _middle(au: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Folds of forehead, brow, nose and cheek."""
    return {
        "cheek_T2": au["AU6"],
        "frown_T2": au["AU4"],
        "forehead_T2": np.maximum(au["AU1"], au["AU2"]),
        "nose_T2": au["AU9"],
        "dimple_T2": au["AU14"],
    }


def _mouth(au: dict[str, np.ndarray], talk_T: np.ndarray) -> dict[str, np.ndarray]:
    """AU12 and AU15 move the corners, AU20 and AU23 the width, AU26 and speech the jaw, AU9 and AU16 the lips' edges.

    A strong smile parts the lips (AU25 goes with it in most photographs of joy).
    """
    mean = {name: both_T2.mean(axis=1) for name, both_T2 in au.items()}
    smile_T = np.clip((au["AU12"].min(axis=1) - 0.3) / 0.7, 0.0, 1.0)
    drop_T = mean["AU26"]
    stretch_T = mean["AU20"]
    narrow = (1 - 0.36 * drop_T * (1 - stretch_T))[:, None]
    wide = 0.34 + 0.1 * au["AU12"] + 0.14 * au["AU20"] - 0.12 * au["AU23"] + 0.04 * au["AU14"]
    jaw_T = 0.4 * drop_T * (1 - 0.5 * stretch_T) + 0.2 * talk_T * (1 - 0.6 * drop_T)
    return {
        "corner_up_T2": (0.17 + 0.1 * au["AU14"]) * au["AU12"] - 0.16 * au["AU15"] - 0.05 * au["AU20"],
        "corner_out_T2": wide * narrow,
        "open_up_T": 0.02 * drop_T + 0.03 * stretch_T + 0.09 * mean["AU9"],
        "open_down_T": jaw_T + 0.17 * smile_T + 0.13 * mean["AU16"],
        "square_T": np.maximum(stretch_T, mean["AU16"]),
        "lip_T": 0.085 - 0.045 * mean["AU23"],
        "lower_teeth_T": np.maximum(stretch_T, mean["AU16"]),
        "jaw_T": 0.3 * jaw_T,
    }


def landmarks(script: Script, time_s: float, mouth: float = 0.0) -> dict[str, float]:
    """Return the measures a person could take from the face at `time_s`, in face units, without the head's sway.

    `mouth` is the opening by speech. Empty when nobody is in the picture.
    """
    if script.identity is None:
        return {}
    s = face_state(script, [time_s], np.array([mouth]))
    pairs = {
        "brow_inner": s.brow_inner_T2, "brow_outer": s.brow_outer_T2, "brow_pull": s.brow_pull_T2,
        "lid_opening": s.lid_upper_T2 + s.lid_lower_T2, "lower_lid": s.lid_lower_T2, "cheek_raise": s.cheek_T2,
        "nose_wrinkle": s.nose_T2, "mouth_corner": s.corner_up_T2, "mouth_half_width": s.corner_out_T2, "dimple": s.dimple_T2,
    }  # fmt: skip
    out = {f"{name}_{side}": float(values[0, i]) for name, values in pairs.items() for i, side in enumerate(("left", "right"))}
    opening = s.open_up_T + s.open_down_T
    singles = {"mouth_opening": opening, "upper_lip_raise": s.open_up_T, "lip_thickness": s.lip_T, "lower_teeth": s.lower_teeth_T}
    singles["mouth_asymmetry"] = np.abs(s.corner_up_T2[:, 0] - s.corner_up_T2[:, 1])
    return out | {name: float(values[0]) for name, values in singles.items()}
