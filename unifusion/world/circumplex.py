"""Valence and arousal over time, from the emotions of face and voice."""

from __future__ import annotations

import numpy as np

from unifusion.world.script import Script

__all__ = ["POSITIONS", "RATE_HZ", "clip_mean", "curve"]

RATE_HZ = 25.0

POSITIONS: dict[str, tuple[float, float]] = {
    "neutral": (0.0, 0.0),
    "happy": (0.81, 0.51),
    "sad": (-0.63, -0.27),
    "angry": (-0.51, 0.59),
    "fear": (-0.64, 0.60),
    "surprise": (0.40, 0.67),
    "disgust": (-0.60, 0.35),
    "contempt": (-0.56, 0.47),
}
"""Emotion -> (valence, arousal) in [-1, 1]: pleasure and arousal of happy, sad, angry, fearful, surprised and disgusted in Russell and
Mehrabian, "Evidence for a three-factor theory of emotions" (J. Research in Personality 11, 1977). Contempt is put midway between
anger and disgust, of which Plutchik (1980) makes it a blend; neutral is the origin."""


def _face_T(script: Script, times_T: np.ndarray) -> np.ndarray:
    """(T, 2) valence and arousal of the face: the position scaled by the expression's intensity at each time."""
    out_T2 = np.zeros((len(times_T), 2))
    for e in script.expressions:
        knots = [e.start_s, max(e.apex_s, e.start_s + 1e-6), max(e.offset_s, e.apex_s + 2e-6), max(e.end_s, e.offset_s + 3e-6)]
        level_T = np.interp(times_T, knots, [0.0, e.intensity, e.intensity, 0.0])
        level_T = np.where((e.offset_s >= script.duration_s) & (times_T >= knots[1]), e.intensity, level_T)
        out_T2 += level_T[:, None] * np.array(POSITIONS[e.emotion])
    return out_T2


def curve(script: Script) -> np.ndarray:
    """Return valence and arousal (T, 2) at 25 Hz, T = duration x 25; the mean of the streams that are there.

    The face follows its expression over time. A voice carries its emotion at its intensity for the whole clip: it is the
    speaker's state, not only of the seconds in which words fall.
    """
    times_T = np.arange(round(script.duration_s * RATE_HZ)) / RATE_HZ
    streams = []
    if script.identity is not None:
        streams.append(_face_T(script, times_T))
    if script.utterance is not None:
        said = script.utterance
        streams.append(np.tile(np.array(POSITIONS[said.emotion]) * said.intensity, (len(times_T), 1)))
    return np.mean(streams, axis=0) if streams else np.zeros((len(times_T), 2))


def clip_mean(script: Script) -> tuple[float, float]:
    """Return the clip's mean valence and arousal."""
    valence, arousal = curve(script).mean(axis=0)
    return float(valence), float(arousal)
