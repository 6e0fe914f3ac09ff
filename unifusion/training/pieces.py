"""Real recordings and pictures, several of them side by side in the length of a clip, each changed a little every time it is met."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from unifusion.conversation import Clip, Example, Take
from unifusion.datasets.dataset import Dataset
from unifusion.limits import Limits
from unifusion.media.augment import level_db, mix_at_snr, retake
from unifusion.media.prosody import Prosody, measure_prosody
from unifusion.processor.opening import decode
from unifusion.training.kept import RowKey, row_key
from unifusion.training.known import Known

__all__ = ["INGREDIENTS", "Grounded", "Pieces", "any_colour", "loud_part"]

RATE_HZ = 16_000
_MARGIN_S = 0.1
_QUIET_DB = 35.0
"""What is softer than the loudest tenth of a second by more is no part of a sound."""
_COVERED = 0.6
"""Share of a window that a piece must fill."""
_LONGEST_S = 3.0
_LEVEL_DB, _OF_SOUNDS_DB = 3.0, 8.0
"""Deviation of the level of a piece from its own: a voice's tells of its emotion, that of a sound or a digit only of the microphone."""
_NOISY, _SNR_DB = 0.3, (4.0, 22.0)
"""Share of voices with another sound behind them, and the voice's power over it."""
_FLOOR = 1e-5
INGREDIENTS = ("changes", "noise")
"""What may be left out: changes of a piece from one time it is met to the next, and other sounds behind voices."""


@dataclass(frozen=True, kw_only=True)
class Grounded:
    """A clip with what is known of each of its K windows.

    Attributes:
        clip: its arrays.
        truth_KP: 1 true, 0 false, -1 unknown.
        group_K: number of the piece a window is of, -1 for none.
    """

    clip: Clip
    truth_KP: torch.Tensor
    group_K: torch.Tensor


class Pieces:
    """Rows of real sets as pieces of one stream.

    Args:
        parts: name -> rows, of one split.
        weights: name -> how often it is drawn; others are left out.
        stream: video (stills) or audio.
        known: the phrases.
        shape: `duration_s` of a clip, `window_s` of the truth, `rate_hz` and `size_px` of frames.
        share: of the rows that training takes from here.
        seed: of what is drawn and changed.
        without: ingredients that are left out.
    """

    def __init__(
        self, parts: Mapping[str, Dataset], weights: Mapping[str, float], stream: str, known: Known, shape: Mapping[str, Any], *,
        share: float = 0.5, seed: int = 0, without: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        self.without = without
        self.stream, self.known, self.share, self.seed = stream, known, share, seed
        self.duration_s, self.window_s = float(shape["duration_s"]), float(shape["window_s"])
        self.rate_hz, self.size_px = float(shape["rate_hz"]), int(shape["size_px"])
        wanted = "image" if stream == "video" else "audio"
        self.rows: dict[str, list[Example]] = {}
        for name, rows in parts.items():
            if weights.get(name) and len(rows) and rows[0].media and rows[0].media[0].kind == wanted:
                self.rows[name] = list(rows)
        self.weights = [weights[name] for name in self.rows]
        self.classes = {name: _by_class(rows) for name, rows in self.rows.items()}
        self.behind = [r for rows in self.rows.values() for r in rows if "sound" in r.labels]
        self._arrays: dict[RowKey, np.ndarray] = {}
        self._prosody: dict[RowKey, Prosody | None] = {}
        self._truths: dict[RowKey, np.ndarray] = {}

    def pack(self, index: int, turn: int) -> Grounded:
        """Fill a clip's length with drawn pieces, changed; a pure function of (seed, index, turn)."""
        rng = random.Random(f"{self.seed}/{index}/{turn}")
        return self._pictures(rng) if self.stream == "video" else self._sounds(rng)

    def alone(self, example: Example) -> Grounded:
        """One row by itself and unchanged, from the clip's start."""
        windows = round(self.duration_s / self.window_s)
        truth_KP, group_K = self._blank(windows)
        array = self.array(example)
        if self.stream == "video":
            frames = np.stack([_view(array, self.size_px)] * round(self.window_s * self.rate_hz))
            truth_KP, group_K = truth_KP[:1], group_K[:1]
            truth_KP[0], group_K[0] = self._truth(example), 0
            return self._grounded(self._clip(frames, None), truth_KP, group_K)
        sound = np.zeros(round(self.duration_s * RATE_HZ), np.float32)
        piece = array.astype(np.float32)[: len(sound)] / 32767.0
        sound[: len(piece)] = piece
        self._mark(truth_KP, group_K, sound, (0.0, len(piece) / RATE_HZ), self._heard(example), 0)
        return self._grounded(self._clip(None, sound), truth_KP, group_K)

    def array(self, example: Example) -> np.ndarray:
        """A row's loud part (N,) int16, or its still (H, W, 3) uint8; decoded once."""
        if (key := row_key(example)) not in self._arrays:
            clip, _ = decode(
                example.media[0], rate_hz=1.0 if self.stream == "video" else None, audio=self.stream == "audio", max_seconds=30.0,
                limits=Limits(),
            )  # fmt: skip
            if self.stream == "video":
                self._arrays[key] = np.asarray(clip.frames_THWC)[0]
            else:
                self._arrays[key] = np.round(loud_part(np.asarray(clip.waveform_N)) * 32767).astype(np.int16)
        return self._arrays[key]

    def _draw(self, rng: random.Random) -> Example:
        """A row: its part by weight, its class evenly."""
        name = rng.choices(list(self.rows), self.weights)[0]
        return rng.choice(self.classes[name][rng.choice(sorted(self.classes[name]))])

    def _pictures(self, rng: random.Random) -> Grounded:
        """Another still in every window."""
        windows, each = round(self.duration_s / self.window_s), round(self.window_s * self.rate_hz)
        truth_KP, group_K = self._blank(windows)
        frames = []
        for k in range(windows):
            example = self._draw(rng)
            still = self.array(example)
            frames += [_view(still, self.size_px)] * each if "changes" in self.without else _views(still, self.size_px, each, rng)
            truth_KP[k], group_K[k] = self._truth(example), k
        return self._grounded(self._clip(np.stack(frames), None), truth_KP, group_K)

    def _sounds(self, rng: random.Random) -> Grounded:
        """Sounds behind each other with short pauses."""
        windows = round(self.duration_s / self.window_s)
        truth_KP, group_K = self._blank(windows)
        sound = np.zeros(round(self.duration_s * RATE_HZ), np.float32)
        at_s, number = rng.uniform(0.0, 0.4), 0
        while at_s < self.duration_s - 0.3:
            example = self._draw(rng)
            piece, speed, gain_db = self._changed(example, rng)
            begin, room_s = round(at_s * RATE_HZ), self.duration_s - at_s
            length_s = min(len(piece) / RATE_HZ, _LONGEST_S)
            if "digit" in example.labels and length_s > room_s:
                break
            if length_s < len(piece) / RATE_HZ:
                first = rng.randrange(len(piece) - round(length_s * RATE_HZ) + 1)
                piece = piece[first : first + round(length_s * RATE_HZ)]
            piece, told_P = piece[: len(sound) - begin], self._heard(example, speed, gain_db)
            if "sound" not in example.labels and self.behind and "noise" not in self.without and rng.random() < _NOISY:
                other = rng.choice(self.behind)
                piece, told_P = self._over(piece, other, rng), self.known.behind(told_P, other)
            sound[begin : begin + len(piece)] = _faded(piece)
            self._mark(truth_KP, group_K, sound, (at_s, at_s + len(piece) / RATE_HZ), told_P, number)
            at_s, number = at_s + len(piece) / RATE_HZ + rng.uniform(0.0, 0.4), number + 1
        return self._grounded(self._clip(None, sound), truth_KP, group_K)

    def _changed(self, example: Example, rng: random.Random) -> tuple[np.ndarray, float, float]:
        """A row's sound as training meets it this time, with its factor of speed and what was added to its level (dB)."""
        piece = self.array(example).astype(np.float32) / 32767.0
        deviation_db = _LEVEL_DB if "emotion" in example.labels else _OF_SOUNDS_DB
        return (piece, 1.0, 0.0) if "changes" in self.without else _changed(piece, rng, deviation_db)

    def _over(self, piece_N: np.ndarray, other: Example, rng: random.Random) -> np.ndarray:
        """A voice with another sound behind it."""
        noise = self._changed(other, rng)[0]
        mixed: np.ndarray = np.clip(mix_at_snr(piece_N, np.resize(noise, len(piece_N)), rng.uniform(*_SNR_DB)), -1.0, 1.0)
        return mixed

    def _mark(
        self, truth_KP: np.ndarray, group_K: np.ndarray, sound: np.ndarray, span: tuple[float, float], told_P: np.ndarray, number: int
    ) -> None:  # fmt: skip
        """Write a piece's truth into the windows it fills loudly; a digit, shorter than a window, into those that hold most of it."""
        width = round(self.window_s * RATE_HZ)
        level_K = [level_db(sound[k * width : (k + 1) * width]) for k in range(len(truth_KP))]
        inside = [k for k in range(len(truth_KP)) if _shared(span, (k * self.window_s, (k + 1) * self.window_s)) > 0]
        loudest = max((level_K[k] for k in inside), default=0.0)
        short = span[1] - span[0] < 1.5 * self.window_s
        for k in inside:
            shared = _shared(span, (k * self.window_s, (k + 1) * self.window_s))
            full = shared / (min(span[1] - span[0], self.window_s) if short else self.window_s)
            if full >= _COVERED and level_K[k] > loudest - 20.0:
                truth_KP[k], group_K[k] = told_P, number

    def _truth(self, example: Example) -> np.ndarray:
        """A row's truth, a copy."""
        if (key := row_key(example)) not in self._truths:
            self._truths[key] = self.known.truth(example, self.stream)
        return self._truths[key].copy()

    def _heard(self, example: Example, speed: float = 1.0, gain_db: float = 0.0) -> np.ndarray:
        """A voice's truth, with its third of level, pitch and rate after a change of speed and level."""
        truth_P, thirds = self._truth(example), example.labels.get("thirds")
        if thirds is None:
            return truth_P
        if (key := row_key(example)) not in self._prosody:
            self._prosody[key] = measure_prosody(self.array(example).astype(np.float32) / 32767.0)
        if (found := self._prosody[key]) is None:
            return truth_P
        pitch_hz = None if found.pitch_hz is None else found.pitch_hz * speed
        changed = replace(found, level_db=found.level_db + gain_db, pitch_hz=pitch_hz, rate_hz=found.rate_hz * speed)
        return self.known.measured(truth_P, changed, thirds)

    def _blank(self, windows: int) -> tuple[np.ndarray, np.ndarray]:
        """Nothing known yet."""
        return np.full((windows, len(self.known.bank[self.stream])), -1, np.int8), np.full(windows, -1, np.int64)

    def _clip(self, frames_THWC: np.ndarray | None, waveform_N: np.ndarray | None) -> Clip:
        """Arrays as a clip."""
        times = None if frames_THWC is None else np.arange(len(frames_THWC)) / self.rate_hz
        return Clip(frames_THWC=frames_THWC, frame_times_s=times, waveform_N=waveform_N, duration_s=self.duration_s)

    def _grounded(self, clip: Clip, truth_KP: np.ndarray, group_K: np.ndarray) -> Grounded:
        """As tensors."""
        return Grounded(clip=clip, truth_KP=torch.from_numpy(truth_KP), group_K=torch.from_numpy(group_K))


def _by_class(rows: Sequence[Example]) -> dict[str, list[Example]]:
    """Rows by their label."""
    found: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        found[next((str(row.labels[k]) for k in ("emotion", "sound", "digit") if k in row.labels), "")].append(row)
    return found


def _shared(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Seconds two spans share."""
    return max(0.0, min(first[1], second[1]) - max(first[0], second[0]))


def loud_part(waveform_N: np.ndarray) -> np.ndarray:
    """The sound without the silence around it: from the first to the last 20 ms that reach 35 dB below the loudest tenth of a second."""
    step = RATE_HZ // 50
    if len(waveform_N) < 5 * step:
        return waveform_N
    power_T = np.square(waveform_N[: len(waveform_N) // step * step], dtype=np.float64).reshape(-1, step).mean(1)
    loudest = np.convolve(power_T, np.full(5, 0.2), mode="valid").max()
    at = np.flatnonzero(power_T > max(loudest * 10 ** (-_QUIET_DB / 10), _FLOOR**2))
    if not len(at):
        return waveform_N
    margin = round(_MARGIN_S * RATE_HZ)
    return waveform_N[max(int(at[0]) * step - margin, 0) : (int(at[-1]) + 1) * step + margin]


def _faded(piece_N: np.ndarray) -> np.ndarray:
    """Ten milliseconds in and out, so that no cut clicks."""
    ramp = np.linspace(0.0, 1.0, min(RATE_HZ // 100, max(len(piece_N) // 2, 1)), dtype=np.float32)
    piece = piece_N.copy()
    piece[: len(ramp)] *= ramp
    piece[len(piece) - len(ramp) :] *= ramp[::-1]
    return piece


def _changed(piece_N: np.ndarray, rng: random.Random, deviation_db: float) -> tuple[np.ndarray, float, float]:
    """Another speed (and with it pitch), room colour and level.

    Returns:
        the sound, the factor of its speed, and what was added to its level in decibels.
    """
    speed = rng.uniform(0.88, 1.14) if rng.random() < 0.6 else 1.0
    colour = any_colour(rng) if rng.random() < 0.6 else {}
    changed = retake(piece_N, RATE_HZ, Take(speed=speed, gain_db=rng.gauss(0.0, deviation_db), **colour))
    return changed, speed, level_db(changed) - level_db(piece_N)


def any_colour(rng: random.Random) -> dict[str, float]:
    """A tilt and a broad bump, as another microphone has: choices of a Take."""
    return {"tilt_db": rng.uniform(-3.0, 3.0), "bump_db": rng.uniform(-8.0, 8.0), "bump_octave": rng.uniform(-3.0, 3.0)}


def _view(still_HWC: np.ndarray, size_px: int) -> np.ndarray:
    """The whole still as a square."""
    return np.asarray(Image.fromarray(still_HWC).resize((size_px, size_px), Image.Resampling.BILINEAR))


def _views(still_HWC: np.ndarray, size_px: int, count: int, rng: random.Random) -> list[np.ndarray]:
    """A few frames of a still: mirrored, turned, cut and lit at random, and moved a little from one to the next."""
    image = Image.fromarray(still_HWC)
    height, width = still_HWC.shape[:2]
    mirror, angle = rng.random() < 0.5, np.deg2rad(rng.uniform(-12.0, 12.0))
    zoom, x, y = rng.uniform(0.82, 1.12), rng.uniform(-0.07, 0.07), rng.uniform(-0.07, 0.07)
    contrast, light, gamma = rng.uniform(0.7, 1.3), rng.uniform(-25.0, 25.0), rng.uniform(0.8, 1.25)
    hole = (rng.randrange(size_px), rng.randrange(size_px), rng.randrange(size_px // 6, size_px // 3)) if rng.random() < 0.35 else None
    frames = []
    for _ in range(count):
        z, dx, dy = zoom * rng.uniform(0.99, 1.01), x + rng.uniform(-0.01, 0.01), y + rng.uniform(-0.01, 0.01)
        c, s = np.cos(angle) * z * width / size_px, np.sin(angle) * z * width / size_px
        sign = -1.0 if mirror else 1.0
        middle = size_px / 2
        a, b, d, e = sign * c, -s, sign * s, c
        data = (a, b, width * (0.5 + dx) - a * middle - b * middle, d, e, height * (0.5 + dy) - d * middle - e * middle)
        view = np.asarray(image.transform((size_px, size_px), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR), np.float32)
        view = 255.0 * (view / 255.0) ** gamma
        view = (view - 128.0) * contrast + 128.0 + light
        if hole is not None:
            top, left, side = hole
            view[top : top + side, left : left + side] = 128.0
        frames.append(np.clip(np.rint(view), 0, 255).astype(np.uint8))
    return frames
