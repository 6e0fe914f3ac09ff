"""Emotion over a recording twice: rows of a CSV as they come, and a curve of what was told."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from unifusion.engine.stream import Window
from unifusion.evaluation.drawing import COLOURS, draw

__all__ = ["WindowTable", "draw_curve"]

_MOST_POINTS = 2000


class WindowTable:
    """Writes windows as CSV, each line whole and on disk before the next; cells never begin a formula.

    Args:
        handle: opened for writing, empty.
    """

    def __init__(self, handle: TextIO) -> None:
        self._handle = handle
        self._labels: tuple[str, ...] | None = None
        self._held: list[Window] = []

    def write(self, window: Window) -> None:
        """Add a window; those of nothing that come first wait for the labels."""
        if self._labels is None and window.probabilities:
            self._begin(tuple(window.probabilities))
        if self._labels is None:
            self._held.append(window)
            return
        for one in (*self._held, window):
            self._line(self._row(one))
        self._held = []

    def close(self) -> None:
        """Write what still waits."""
        if self._labels is None:
            self._begin(())
            for one in self._held:
                self._line(self._row(one))
            self._held = []

    def _begin(self, labels: tuple[str, ...]) -> None:
        self._labels = labels
        self._line(["start_s", "end_s", "label", "probability", "valence", "arousal", "streams", "absent", *labels])

    def _row(self, w: Window) -> list[Any]:
        shares = [f"{w.probabilities[k]:.4f}" if k in w.probabilities else "" for k in self._labels or ()]
        felt = ["" if x is None else f"{x:.3f}" for x in (w.valence, w.arousal)]
        best = f"{w.probabilities[w.label]:.4f}" if w.label else ""
        absent = "; ".join(f"{n}: {why}" for n, why in w.absent.items())
        return [f"{w.start_s:.3f}", f"{w.end_s:.3f}", w.label, best, *felt, " ".join(w.streams), absent, *shares]

    def _line(self, cells: Sequence[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([_safe(c) for c in cells])
        self._handle.write(text.getvalue())
        self._handle.flush()


def _safe(cell: Any) -> Any:
    """A label that a spreadsheet would compute gets a mark in front; numbers stay."""
    text = str(cell)
    return f"'{text}" if text[:1] in ("=", "+", "@", "-") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    """Whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def draw_curve(stem: Path, windows: Sequence[Window]) -> list[Path]:
    """Draw probabilities, and valence and arousal, over the seconds at which windows end; `.png` and `.svg`.

    Where nothing was told the curve has a gap; of very long recordings every so-many-th window is drawn.
    """
    step = -(-len(windows) // _MOST_POINTS) or 1
    shown = windows[::step]
    labels = list(dict.fromkeys(k for w in shown for k in w.probabilities))
    felt = [n for n in ("valence", "arousal") if any(getattr(w, n) is not None for w in shown)]
    at = [w.end_s for w in shown]

    def put(figure: Any) -> None:
        """All of it."""
        axes = figure.subplots(1 + bool(felt), 1, sharex=True, squeeze=False)[:, 0]
        for i, label in enumerate(labels):
            shares = [w.probabilities.get(label, float("nan")) for w in shown]
            axes[0].plot(at, shares, color=COLOURS[i % len(COLOURS)], linewidth=1.2, label=label)
        axes[0].set(ylim=(0.0, 1.0), ylabel="probability")
        if labels:
            axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)
        for colour, name in zip(COLOURS, felt, strict=False):
            numbers = [x if (x := getattr(w, name)) is not None else float("nan") for w in shown]
            axes[1].plot(at, numbers, color=colour, linewidth=1.2, label=name)
        if felt:
            axes[1].set(ylim=(-1.0, 1.0))
            axes[1].axhline(0.0, color="#8a939c", linewidth=0.6)
            axes[1].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=7, frameon=False)
        axes[-1].set_xlabel("seconds")

    svg = draw(stem, (9.0, 2.2 + 1.8 * bool(felt)), put)
    return [svg.with_suffix(".png"), svg]
