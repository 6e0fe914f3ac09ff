"""How pictures are drawn: matplotlib without a window, one look, and the same bytes for the same figures."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unifusion.evaluation.page import visible

__all__ = ["BLUE", "COLOURS", "GREY", "NO_PLOTS", "can_draw", "draw", "label", "whiskers"]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#5B5B9A", "#7F7F7F", "#B22222")
"""Told apart by people who are colour-blind (Okabe and Ito), and four more."""
BLUE, GREY = COLOURS[0], "#8a939c"
NO_PLOTS = "There are no pictures: pip install 'unifusion-x[plots]' adds them."
_STYLE = {
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "legend.frameon": False, "axes.axisbelow": True,
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "unifusion", "svg.fonttype": "path",
    "axes.grid": False, "grid.color": "#e3e6ea", "grid.linewidth": 0.7, "font.family": "DejaVu Sans",
}  # fmt: skip


def can_draw() -> bool:
    """Whether matplotlib is installed (extra `plots`)."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(stem: Path, size: tuple[float, float], paint: Callable[[Any], None]) -> Path:
    """Write a picture as PNG and SVG, without a date, and return the SVG's path.

    Args:
        stem: path without its suffix; its folder is made.
        size: width and height in inches.
        paint: puts axes onto the empty figure.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stem.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        svg = stem.with_suffix(".svg")
        figure.savefig(svg, metadata={"Date": None, "Creator": None}, dpi=150)
        figure.savefig(stem.with_suffix(".png"), metadata={"Software": None}, dpi=200)
    return svg


def label(text: str, most: int = 18) -> str:
    """A name on an axis: no mathematics, nothing that cannot be seen, not too long."""
    shown = visible(text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return shown.replace("\\", "\\\\").replace("$", r"\$") if "$" in shown else shown


def whiskers(figures: Sequence[dict[str, Any]]) -> list[list[float]]:
    """Lengths of error bars from value, low and high; none goes the wrong way."""
    return [[max(0.0, f["value"] - f["low"]) for f in figures], [max(0.0, f["high"] - f["value"]) for f in figures]]
