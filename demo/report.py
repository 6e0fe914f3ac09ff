"""The modality report as it stands beside an answer: what was heard and seen, what was not and why, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .drawing import esc

if TYPE_CHECKING:
    from unifusion import ModalityReport
    from unifusion.batch import StreamReport

__all__ = ["report_html"]


def report_html(report: ModalityReport, timing: Mapping[str, float], *, reused: bool = False, ended: str = "") -> str:
    """Return the report as safe HTML.

    Args:
        report: of the answer.
        timing: seconds, as in `Answer.timing`; keys that are missing are left out.
        reused: the clip was known from an earlier question.
        ended: why the answer is not whole; empty when it is.
    """
    chips = "".join(_chip(name, stream) for name, stream in report.streams.items()) or '<span class="ux-chip ux-absent">text only</span>'
    times = _times(timing, reused)
    lines = [f"<li>{esc(note)}</li>" for note in [*_cropped(report), *report.notes, *([ended] if ended else [])]]
    notes = f'<ul class="ux-notes">{"".join(lines)}</ul>' if lines else ""
    return f'<div class="ux-report" aria-label="What was seen and heard">{chips}{times}{notes}</div>'


def _chip(name: str, stream: StreamReport) -> str:
    """One stream: its seconds, frames and tokens, or why it is absent."""
    if not stream.present:
        return f'<span class="ux-chip ux-absent" data-stream="{esc(name)}"><b>{esc(name)}</b> absent: {esc(stream.reason)}</span>'
    frames = f"{stream.frames} frame{'s' if stream.frames != 1 else ''}, " if stream.frames else ""
    seconds = "" if stream.modality == "image" else f"{stream.seconds:.1f} s, "
    return f'<span class="ux-chip" data-stream="{esc(name)}"><b>{esc(name)}</b> {seconds}{frames}{stream.tokens} tokens</span>'


def _cropped(report: ModalityReport) -> list[str]:
    """What was left out of streams that are there."""
    return [f"{name}: {s.cropped_s:.1f} s left out; {s.reason}" for name, s in report.streams.items() if s.present and s.cropped_s > 0]


def _times(timing: Mapping[str, float], reused: bool) -> str:
    """First token, whole answer, and whether the clip had to be read."""
    said = []
    if "first_token_s" in timing:
        said.append(f"first token {_seconds(timing['first_token_s'])}")
    if "total_s" in timing:
        said.append(f"total {_seconds(timing['total_s'])}")
    if reused:
        said.append("clip reused")
    elif timing.get("decode_s", 0.0) + timing.get("encode_s", 0.0) > 0:
        said.append(f"clip read in {_seconds(timing.get('decode_s', 0.0) + timing.get('encode_s', 0.0))}")
    return f'<span class="ux-times">{" · ".join(said)}</span>' if said else ""


def _seconds(value: float) -> str:
    """Short, with enough digits to compare."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
