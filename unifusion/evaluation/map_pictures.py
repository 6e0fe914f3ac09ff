"""Where a model looked, as pictures: over frames, and over the spectrogram of the sound."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.engine.maps import StreamMap
from unifusion.evaluation.drawing import COLOURS, GREY, draw
from unifusion.evaluation.timeline import Strip

__all__ = ["draw_maps"]

_FRAMES = 8
_FFT_SAMPLES, _HOP_SAMPLES = 512, 160


def draw_maps(folder: Path, found: Sequence[StreamMap], strips: Sequence[Strip]) -> list[Path]:
    """Draw each map that has a picture or sound to stand on: `map-STREAM.png` and `.svg`, of several clips `map-STREAM-2`.

    Returns:
        the paths.
    """
    written = []
    for one in found:
        strip, name = strips[min(one.clip, len(strips) - 1)], f"map-{one.stream}" + (f"-{one.clip + 1}" if one.clip else "")
        if one.modality in ("video", "image") and strip.frames_THWC is not None and strip.times_s is not None:
            size, put = (1.4 * min(_FRAMES, len(_shown_s(one))) + 0.8, 2.4), partial(_over_frames, one, strip.frames_THWC, strip.times_s)
        elif one.modality == "audio" and strip.waveform_N is not None and len(strip.waveform_N) >= _FFT_SAMPLES:
            size, put = (8.0, 3.0), partial(_over_sound, one, strip.waveform_N)
        else:
            continue
        svg = draw(folder / name, size, partial(put, strip))
        written += [svg.with_suffix(".png"), svg]
    return written


def _shown_s(one: StreamMap) -> tuple[float, ...]:
    """The moments that frames are shown of: those with a grid, where there are any."""
    return one.times_s if one.grids_TRC is None else one.grid_times_s


def _over_frames(one: StreamMap, frames_THWC: np.ndarray, times_T: np.ndarray, strip: Strip, figure: Any) -> None:
    """Some moments with what each place got, brighter for more; below, the weight of all moments."""
    moments_s = _shown_s(one)
    chosen = np.unique(np.linspace(0, len(moments_s) - 1, min(_FRAMES, len(moments_s))).round().astype(int))
    grid = figure.add_gridspec(2, len(chosen), height_ratios=[2, 1])
    most = float(one.grids_TRC.max()) if one.grids_TRC is not None else 0.0
    for column, i in enumerate(chosen):
        axis = figure.add_subplot(grid[0, column])
        at = max(0, int(np.searchsorted(times_T, moments_s[i] + 1e-6, side="right")) - 1)
        axis.imshow(frames_THWC[at], extent=(0, 1, 0, 1), aspect="auto")
        if one.grids_TRC is not None:
            axis.imshow(
                one.grids_TRC[i].numpy(), extent=(0, 1, 0, 1), aspect="auto", cmap="inferno", alpha=0.55, vmin=0.0, vmax=most or 1.0,
                interpolation="bilinear",
            )  # fmt: skip
        axis.set(xticks=[], yticks=[], title=f"{moments_s[i]:.1f} s")
    _curve(figure.add_subplot(grid[1, :]), one, strip.duration_s)


def _over_sound(one: StreamMap, waveform_N: np.ndarray, strip: Strip, figure: Any) -> None:
    """The spectrogram, and below it the weight of each moment."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    power_FT = _spectrogram(waveform_N)
    end_s = strip.sound_start_s + power_FT.shape[1] * _HOP_SAMPLES / strip.sampling_rate_hz
    extent = (strip.sound_start_s, end_s, 0.0, strip.sampling_rate_hz / 2000)
    above.imshow(power_FT, origin="lower", aspect="auto", cmap="Greys", extent=extent, vmin=power_FT.max() - 70)
    above.set(ylabel="kHz")
    _curve(below, one, strip.duration_s)


def _curve(axis: Any, one: StreamMap, end_s: float) -> None:
    """The weights over time."""
    axis.step(one.times_s, one.weights_T.tolist(), where="mid", color=COLOURS[1], linewidth=1.0)
    axis.set(xlim=(0.0, max(end_s, *one.times_s, 0.1)), xlabel="seconds", ylabel=one.of.split(" ")[0])
    axis.axhline(0.0, color=GREY, linewidth=0.6)


def _spectrogram(waveform_N: np.ndarray) -> np.ndarray:
    """Decibels (F, T) of windows of 512 samples, 160 apart."""
    windows_TN = np.lib.stride_tricks.sliding_window_view(waveform_N.astype(np.float32), _FFT_SAMPLES)[::_HOP_SAMPLES]
    power_TF = np.square(np.abs(np.fft.rfft(windows_TN * np.hanning(_FFT_SAMPLES).astype(np.float32), axis=1)))
    return 10 * np.log10(power_TF.T + 1e-10)
