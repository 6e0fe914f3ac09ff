"""Action units over time: which parts of a face move for an emotion, and how far at a given moment.

Prototypes after Ekman, Friesen and Hager, Facial Action Coding System: Investigator's Guide (2002), table 10-2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unifusion.errors import ConfigError, nearest
from unifusion.world.script import Script
from unifusion.world.shapes import chance, smoothstep

__all__ = ["ACTION_UNITS", "AU_OF_EMOTION", "action_unit_curves", "action_unit_intensities", "contempt_side"]

ACTION_UNITS = {
    "AU1": "inner brow raiser",
    "AU2": "outer brow raiser",
    "AU4": "brow lowerer",
    "AU5": "upper lid raiser",
    "AU6": "cheek raiser",
    "AU7": "lid tightener",
    "AU9": "nose wrinkler",
    "AU12": "lip corner puller",
    "AU14": "dimpler",
    "AU15": "lip corner depressor",
    "AU16": "lower lip depressor",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU26": "jaw drop",
}
"""Name in the Facial Action Coding System -> what it does."""
AU_OF_EMOTION: dict[str, tuple[str, ...]] = {
    "neutral": (),
    "happy": ("AU6", "AU12"),
    "sad": ("AU1", "AU4", "AU15"),
    "angry": ("AU4", "AU5", "AU7", "AU23"),
    "fear": ("AU1", "AU2", "AU4", "AU5", "AU20", "AU26"),
    "surprise": ("AU1", "AU2", "AU5", "AU26"),
    "disgust": ("AU9", "AU15", "AU16"),
    "contempt": ("AU12", "AU14"),
}
"""Emotion -> action units of its prototype. Those of contempt move on one side only."""


def contempt_side(seed: int) -> int:
    """Return the side a face with this identity seed shows contempt on: -1 left, 1 right in the picture."""
    return -1 if chance(seed, 14) < 0.5 else 1


def action_unit_curves(script: Script, times_s: Sequence[float] | np.ndarray) -> dict[str, np.ndarray]:
    """Return the intensity of every action unit for the left and the right half of the picture.

    Returns:
        `AU..` -> float64 (T, 2) in [0, 1]; columns are left and right. Where expressions overlap the stronger one counts.

    Raises:
        ConfigError: an expression names an unknown action unit.
    """
    times_T = np.asarray(times_s, dtype=np.float64)
    curves = {name: np.zeros((len(times_T), 2)) for name in ACTION_UNITS}
    for e in script.expressions:
        level_T = e.intensity * _ramp(times_T, e.start_s, e.apex_s) * (1 - _ramp(times_T, e.offset_s, e.end_s, closed=False))
        sides = np.ones(2)
        if e.emotion == "contempt" and script.identity is not None:
            sides = np.array([1.0, 0.0]) if contempt_side(script.identity.seed) < 0 else np.array([0.0, 1.0])
        for name in e.action_units:
            if name not in curves:
                raise ConfigError(f"no action unit {name!r} in clip world;", remedy=nearest(name, list(ACTION_UNITS)))
            curves[name] = np.maximum(curves[name], level_T[:, None] * sides)
    return curves


def _ramp(times_T: np.ndarray, start_s: float, end_s: float, *, closed: bool = True) -> np.ndarray:
    """Return 0 before `start_s`, 1 after `end_s`; a step when the two are equal, which `closed` ones have taken at that moment."""
    if end_s <= start_s:
        return (times_T >= start_s if closed else times_T > start_s).astype(np.float64)
    return smoothstep((times_T - start_s) / (end_s - start_s))


def action_unit_intensities(script: Script, time_s: float) -> dict[str, float]:
    """Return the intensity in [0, 1] of every action unit at one moment (the stronger side where they differ)."""
    return {name: float(both_T2.max()) for name, both_T2 in action_unit_curves(script, [time_s]).items()}
