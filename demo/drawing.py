"""Pictures and texts of the page as HTML and SVG. Every string from outside goes through `esc`; nothing else is put in."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["bars", "circumplex", "esc", "notice", "prose", "timeline"]

# Gradio fills HTML components through templates, so their signs are made inert too.
_INERT = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})
_LANES = ("picture", "sound", "words")
_CORNERS = (("excited, pleasant", 1, 1), ("excited, unpleasant", -1, 1), ("calm, unpleasant", -1, -1), ("calm, pleasant", 1, -1))


def esc(text: Any) -> str:
    """Return text that a browser shows as it is, whatever it holds."""
    plain = "".join(c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return html.escape(plain, quote=True).translate(_INERT)


def notice(text: str, *, alert: bool = True) -> str:
    """A message to the person, announced by screen readers."""
    role, name = ("alert", "ux-alert") if alert else ("status", "ux-status")
    return f'<div class="ux-notice {name}" role="{role}">{esc(text)}</div>'


def prose(text: str) -> str:
    """Plain text with its line breaks."""
    return f'<p class="ux-prose">{esc(text)}</p>' if text.strip() else ""


def bars(label: str, probabilities: Mapping[str, float]) -> str:
    """The label, and one bar per label, the likeliest first."""
    rows = []
    for name, share in sorted(probabilities.items(), key=lambda item: -item[1]):
        percent = f"{100 * share:.1f} %"
        best = " ux-best" if name == label else ""
        rows.append(
            f'<div class="ux-bar{best}" role="listitem" aria-label="{esc(name)}: {percent}"><span>{esc(name)}</span>'
            f'<i><b style="width:{max(0.0, min(1.0, share)) * 100:.2f}%"></b></i><em>{percent}</em></div>'
        )
    listed = f'<div class="ux-bars" role="list" aria-label="Probability of each label">{"".join(rows)}</div>'
    return f'<div class="ux-label">{esc(label)}</div>{listed}'


def circumplex(valence: float | None, arousal: float | None) -> str:
    """Valence to the right, arousal upwards, both from -1 to 1; without them it says so."""
    known = valence is not None and arousal is not None and math.isfinite(valence) and math.isfinite(arousal)
    if not known or valence is None or arousal is None:
        return '<p class="ux-muted">The model gave no valence and arousal that could be read.</p>'
    x, y = (100 + 84 * max(-1.0, min(1.0, v)) * sign for v, sign in ((valence, 1), (arousal, -1)))
    words = "".join(
        f'<text x="{100 + 84 * right}" y="{24 if up > 0 else 182}" text-anchor="{"end" if right > 0 else "start"}">{name}</text>'
        for name, right, up in _CORNERS
    )
    return (
        f'<figure class="ux-circle"><svg viewBox="0 0 200 200" role="img" aria-label="valence {valence:+.2f}, arousal {arousal:+.2f}">'
        '<rect x="12" y="12" width="176" height="176" rx="10"/><circle cx="100" cy="100" r="84"/><circle cx="100" cy="100" r="42"/>'
        f'<path d="M16 100H184M100 16V184"/>{words}<line x1="100" y1="100" x2="{x:.1f}" y2="{y:.1f}"/>'
        f'<circle class="ux-dot" cx="{x:.1f}" cy="{y:.1f}" r="6"/></svg>'
        f"<figcaption>valence <b>{valence:+.2f}</b> · arousal <b>{arousal:+.2f}</b></figcaption></figure>"
    )


def timeline(evidence: Sequence[Mapping[str, Any]], seconds: float, *, start_s: float = 0.0) -> str:
    """Evidence on lanes of picture, sound and words, under a scale in the clip's own seconds; a press seeks the player.

    Args:
        evidence: `stream`, `start_s`, `end_s` (from the start of the span) and `text`.
        seconds: length of the span; evidence beyond it is drawn at its edge, the list below says its times.
        start_s: where the span begins in the file.
    """
    if not evidence:
        return '<p class="ux-muted">The model named no evidence with times that could be read.</p>'
    length = seconds if seconds > 0 else max([0.1, *(float(e["end_s"]) for e in evidence)])
    lanes = [*_LANES, *sorted({str(e["stream"]) for e in evidence} - set(_LANES))]
    rows = []
    for lane in lanes:
        marks = "".join(_mark(e, length, start_s) for e in evidence if str(e["stream"]) == lane)
        rows.append(f'<div class="ux-lane ux-{esc(lane) if lane in _LANES else "other"}"><span>{esc(lane)}</span><div>{marks}</div></div>')
    items = "".join(
        f'<li class="ux-{esc(e["stream"]) if e["stream"] in _LANES else "other"}"><b>{esc(e["stream"])}</b> '
        f"{start_s + float(e['start_s']):.1f}–{start_s + float(e['end_s']):.1f} s: {esc(e['text'])}</li>"
        for e in evidence
    )
    return (
        f'<section class="ux-time" aria-label="Evidence over time">{"".join(rows)}{_scale(length, start_s)}</section>'
        f'<ul class="ux-evidence">{items}</ul>'
    )


def _mark(item: Mapping[str, Any], length: float, start_s: float) -> str:
    """One piece of evidence as a button on its lane."""
    begin, end = (max(0.0, min(float(item[k]), length)) for k in ("start_s", "end_s"))
    width = min(max(100 * (end - begin) / length, 1.2), 100.0)
    said = f"{item['stream']} {start_s + begin:.1f} to {start_s + end:.1f} s: {item['text']}"
    left = max(0.0, min(100 * begin / length, 100 - width))
    return (
        f'<button type="button" data-seek="{start_s + begin:.2f}" style="left:{left:.2f}%;width:{width:.2f}%" '
        f'title="{esc(said)}" aria-label="{esc(said)}"></button>'
    )


def _scale(length: float, start_s: float) -> str:
    """Ticks at round seconds, about six of them."""
    step = next(m * 10.0**k for k in range(-4, 12) for m in (1, 2, 5) if length / (m * 10.0**k) <= 7)
    ticks = [i * step for i in range(int(length / step + 1e-6) + 1)]
    marks = "".join(f'<i style="left:{100 * t / length:.2f}%">{start_s + t:.6g}</i>' for t in ticks)
    return f'<div class="ux-lane ux-scale"><span>seconds</span><div>{marks}</div></div>'
