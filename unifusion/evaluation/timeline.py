"""An explanation as a picture: lanes of windows coloured by what they are worth, claims above them, the clip itself behind.

Drawn by matplotlib (extra `plots`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.conversation import Media
from unifusion.engine.explain import Claim, Explanation
from unifusion.errors import ConfigError, MediaError
from unifusion.evaluation.drawing import COLOURS, GREY, can_draw, draw, label
from unifusion.limits import Limits
from unifusion.processor.opening import decode

__all__ = ["Strip", "draw_timeline", "need_plots", "read_strips"]

_RATE_HZ = 4.0
_STEP_S = 0.025
_FLOOR_DB = -70.0
_STRIP_ASPECT, _THUMBNAILS = 9.0, 12
"""Width by height of the row of small pictures, each squeezed a little; the most there are."""
_SIDE_PX = 96
_YES, _NO = COLOURS[2], GREY


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A clip as it is drawn.

    Attributes:
        duration_s: of it.
        frames_THWC: small pictures; None where it has none.
        times_s: of them.
        waveform_N: None where it has no sound.
        sampling_rate_hz: of the sound.
        sound_start_s: where it begins.
    """

    duration_s: float
    frames_THWC: np.ndarray | None = None
    times_s: np.ndarray | None = None
    waveform_N: np.ndarray | None = None
    sampling_rate_hz: int = 16_000
    sound_start_s: float = 0.0

    @property
    def level_db(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and levels (T,) of 25 ms each."""
        if self.waveform_N is None:
            return np.zeros(0), np.zeros(0)
        step = max(1, round(_STEP_S * self.sampling_rate_hz))
        n = len(self.waveform_N) // step
        power_T = np.square(self.waveform_N[: n * step].astype(np.float64)).reshape(n, step).mean(1)
        return self.sound_start_s + (np.arange(n) + 0.5) * _STEP_S, np.maximum(10 * np.log10(power_T + 1e-12), _FLOOR_DB)


def need_plots() -> None:
    """Refuse to begin what ends in a picture that cannot be drawn.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if not can_draw():
        raise ConfigError("pictures are drawn by matplotlib, which is not installed;", remedy="pip install 'unifusion-x[plots]'.")


def read_strips(media: Sequence[Media], seconds: float, limits: Limits | None = None) -> list[Strip]:
    """Decode clips once more, coarsely; one that cannot be is an empty strip, for what was told of it stands without."""
    found = []
    for one in media:
        try:
            clip, _ = decode(
                one, rate_hz=None if one.kind == "audio" else _RATE_HZ, audio=one.kind != "image", max_seconds=seconds,
                limits=limits or Limits(), strict=False,
            )  # fmt: skip
        except MediaError:
            found.append(Strip(duration_s=seconds))
            continue
        frames = None if clip.frames_THWC is None or not len(clip.frames_THWC) else _small(clip.frames_THWC)
        found.append(
            Strip(
                duration_s=clip.duration_s, frames_THWC=frames, times_s=clip.frame_times_s, waveform_N=clip.waveform_N,
                sampling_rate_hz=clip.sampling_rate_hz, sound_start_s=clip.waveform_start_s,
            )
        )  # fmt: skip
    return found


def _small(frames_THWC: np.ndarray) -> np.ndarray:
    """Every so-many-th pixel."""
    step = max(1, max(frames_THWC.shape[1:3]) // _SIDE_PX)
    return frames_THWC[:, ::step, ::step]


def draw_timeline(stem: Path, found: Explanation, strips: Sequence[Strip]) -> list[Path]:
    """Draw an explanation over its clips.

    Args:
        stem: path without a suffix; `.png` and `.svg` are written.
        found: what is drawn.
        strips: of the clips.

    Returns:
        the two paths.
    """
    lanes = list(dict.fromkeys((w.clip, w.stream) for w in found.windows))
    shown = [("frames", k) for k, s in enumerate(strips) if s.frames_THWC is not None]
    shown += [("level", k) for k, s in enumerate(strips) if s.waveform_N is not None and len(s.waveform_N)]
    kinds: list[tuple[str, Any]] = [*shown, *(("lane", lane) for lane in lanes), *([("claims", None)] if found.claims else [])]
    heights = {"frames": 0.9, "level": 0.7, "lane": 0.45, "claims": 0.3 * len(found.claims) + 0.3}
    end_s = max((s.duration_s for s in strips), default=0.0) or max((w.end_s for w in found.windows), default=1.0)

    def put(figure: Any) -> None:
        """All of it."""
        axes = figure.subplots(len(kinds), 1, sharex=True, squeeze=False, height_ratios=[heights[k] for k, _ in kinds])[:, 0]
        figure.suptitle(f"{label(found.label, 40)} {found.probability:.0%}{_support(found)}", fontsize=9)
        for axis, (kind, what) in zip(axes, kinds, strict=True):
            axis.set(xlim=(0.0, end_s), yticks=[])
            if kind == "frames":
                _frames(axis, strips[what], end_s)
            elif kind == "level":
                axis.fill_between(*strips[what].level_db, _FLOOR_DB, color="#b8c4d0", linewidth=0)
                axis.set(ylim=(_FLOOR_DB, 0.0), ylabel="loudness")
            elif kind == "lane":
                colours = _lane(axis, found, *what)
            else:
                _claims(axis, found.claims)
        axes[-1].set_xlabel("seconds")
        if lanes:
            figure.colorbar(colours, ax=list(axes), shrink=0.6, pad=0.01, label="lost without it")

    svg = draw(stem, (8.0, 0.9 + sum(heights[k] for k, _ in kinds)), put)
    return [svg.with_suffix(".png"), svg]


def _support(found: Explanation) -> str:
    """The title's second half."""
    return "" if found.support is None else f" · {sum(c.supported for c in found.claims)} of {len(found.claims)} claims supported"


def _frames(axis: Any, strip: Strip, end_s: float) -> None:
    """Small pictures side by side, each from its own second on."""
    if strip.frames_THWC is None or strip.times_s is None:
        return
    height, width = strip.frames_THWC.shape[1:3]
    n = max(1, min(_THUMBNAILS, len(strip.frames_THWC), round(_STRIP_ASPECT * height / width)))
    edges = np.linspace(0.0, strip.duration_s or end_s, n + 1)
    at = np.clip(np.searchsorted(strip.times_s, edges[:-1] + 1e-6, side="right") - 1, 0, len(strip.frames_THWC) - 1)
    for i, frame in enumerate(at):
        axis.imshow(strip.frames_THWC[frame], extent=(edges[i], edges[i + 1], 0, 1), aspect="auto", interpolation="bilinear")
    axis.set(xlim=(0.0, end_s), ylim=(0, 1))


def _lane(axis: Any, found: Explanation, clip: int, stream: str) -> Any:
    """The windows of one stream; returns what the bar of colours is made of."""
    own = [w for w in found.windows if (w.clip, w.stream) == (clip, stream)]
    most = max((abs(w.drop) for w in found.windows), default=0.0) or 1.0
    drops = np.array([[w.drop] for w in own]).T
    edges = [w.start_s for w in own] + [own[-1].end_s]
    several = len({w.clip for w in found.windows}) > 1
    axis.set_ylabel(label(f"{stream} {clip + 1}" if several else stream), rotation=0, ha="right", va="center")
    if len(edges) == len(own) + 1 and all(a.end_s == b.start_s for a, b in pairwise(own)):
        return axis.pcolormesh(edges, [0, 1], drops, cmap="RdBu_r", vmin=-most, vmax=most, edgecolors="white", linewidth=0.5)
    for w in own:  # a stream with holes
        mesh = axis.pcolormesh([w.start_s, w.end_s], [0, 1], [[w.drop]], cmap="RdBu_r", vmin=-most, vmax=most)
    return mesh


def _claims(axis: Any, claims: Sequence[Claim]) -> None:
    """Brackets with their words, one a line."""
    axis.set(ylim=(len(claims), 0))
    axis.set_ylabel("claims", rotation=0, ha="right", va="center")
    for i, claim in enumerate(claims):
        colour, y = (_YES if claim.supported else _NO), i + 0.75
        axis.plot([claim.start_s, claim.start_s, claim.end_s, claim.end_s], [y - 0.15, y, y, y - 0.15], color=colour, linewidth=1.3)
        verdict = "supported" if claim.supported else "not supported"
        words = f"{claim.stream}: {claim.text} ({verdict}, {claim.drop:+.2f})"
        axis.text(claim.start_s, y - 0.12, label(words, 90), color=colour, fontsize=7, va="bottom", clip_on=False)
