"""Found windows as cards that play, and answers whose citations lead to them. All of it is safe HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from .drawing import esc
from .report import report_html

if TYPE_CHECKING:
    from unifusion.retrieval.ask import Retrieved
    from unifusion.retrieval.asked import Asked
    from unifusion.retrieval.found import Found

    from .previews import Preview

__all__ = ["Hit", "answer_html", "found_html"]

_MOST_WORDS = 160


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A found window and what is played of it, or why nothing is."""

    found: Found
    preview: Preview | None = None
    problem: str = ""

    @property
    def name(self) -> str:
        """The file's name, without where it lies."""
        path = self.found.path
        return path if path.startswith("clip-world://") else Path(path).name


def found_html(hits: Sequence[Hit], retrieved: Retrieved) -> str:
    """Cards, the best first."""
    cards = "".join(_card(number, hit, retrieved.threshold) for number, hit in enumerate(hits, 1))
    return f'<div class="ux-found" role="list" aria-label="What was found">{cards}</div>' if cards else ""


def _card(number: int, hit: Hit, threshold: float | None) -> str:
    """One window: player, name, span, score, words."""
    found = hit.found
    below = threshold is not None and found.score < threshold
    span = "" if found.end_s <= found.start_s else f'<span class="ux-span">{found.start_s:.1f}–{found.end_s:.1f} s</span>'
    words = " ".join((found.texts.get("transcript") or found.texts.get("caption") or "").split())
    said = f"<p>{esc(words[:_MOST_WORDS])}{'…' if len(words) > _MOST_WORDS else ''}</p>" if words else ""
    note = '<span class="ux-below">below the threshold</span>' if below else ""
    return (
        f'<article class="ux-hit{" ux-weak" if below else ""}" role="listitem" data-hit="{number}">{_player(hit)}'
        f'<div><b>{esc(hit.name)}</b>{span}<span class="ux-score" title="cosine">{found.score:.3f}</span>{note}</div>{said}</article>'
    )


def _player(hit: Hit) -> str:
    """What plays or shows a window."""
    if hit.preview is None:
        return f'<div class="ux-gone">{esc(hit.problem)}</div>'
    source, label = _url(hit.preview.path), esc(hit.name)
    if hit.preview.kind == "image":
        return f'<img src="{source}" alt="{label}" loading="lazy">'
    if hit.preview.kind == "audio":
        return f'<audio controls preload="metadata" src="{source}" aria-label="{label}"></audio>'
    poster = f' poster="{_url(hit.preview.poster)}"' if hit.preview.poster else ""
    return f'<video controls playsinline preload="metadata" src="{source}"{poster} aria-label="{label}"></video>'


def _url(path: Path) -> str:
    """Where the page fetches a preview; relative, so that it holds behind a proxy too."""
    return f"gradio_api/file={quote(str(path))}"


def answer_html(asked: Asked, retrieved: Retrieved) -> str:
    """The answer, its citations as buttons that lead to the cards, what was seen and heard, and what a person should know."""
    place = {f.id: n for n, f in enumerate(retrieved.found, 1)}
    ids = {p.number: p.ids for p in asked.passages}
    parts, rest = [], asked.answer
    for citation in asked.citations:
        before, mark, rest = rest.partition(citation.mark)
        hit = min((place[i] for number in citation.numbers for i in ids[number] if i in place), default=0)
        parts.append(f'{esc(before)}<button type="button" class="ux-cite" data-hit="{hit}">{esc(mark)}</button>')
    said = f'<p class="ux-prose">{"".join(parts)}{esc(rest)}</p>'
    if not asked.generator:
        return said
    notes = "".join(f"<li>{esc(note)}</li>" for note in asked.notes)
    more = report_html(asked.report, {"total_s": sum(asked.timing.values())}) + (
        f'<div class="ux-report"><ul class="ux-notes">{notes}</ul></div>' if notes else ""
    )
    for passage in sorted(asked.passages, key=lambda p: -len(p.path)):  # where files lie is nobody's business
        more = more.replace(esc(passage.path), esc(passage.name))
    return said + more
