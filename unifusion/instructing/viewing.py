"""Conversations as a model reads them: which tokens are supervised, and how many there are, for a terminal and as a page."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from unifusion.conversation import Conversation, Media

if TYPE_CHECKING:
    from unifusion.processor import Row, UniFusionProcessor

__all__ = ["Run", "View", "as_page", "as_text", "view_of", "view_of_row"]

_DIM, _GREEN, _CYAN, _RESET = "\x1b[2m", "\x1b[32m", "\x1b[36m", "\x1b[0m"
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
section{border:1px solid #ccc;border-radius:6px;padding:.6rem 1rem;margin:1rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
h2{font-size:1rem;margin:0 0 .4rem;color:#555}mark{background:#c9efcd}i{color:#06c;font-style:normal}small{color:#555}b{color:#b00}"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Neighbouring tokens of one sort: text, or the places of one stream (then `text` is its name)."""

    text: str
    tokens: int = 0
    supervised: bool = False
    media: bool = False


@dataclass(frozen=True, kw_only=True)
class View:
    """One conversation to look at. `problem` says why there are no runs."""

    name: str
    runs: tuple[Run, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    """tokens, supervised, and each stream's; none without a model."""
    problem: str = ""


def view_of(talk: Conversation) -> View:
    """A conversation as it is written, where no model says how it is read."""
    runs: list[Run] = []
    for message in talk.messages:
        runs.append(Run(text=f"{chr(10) * bool(runs)}{message.role}: "))
        for part in message.parts:
            clip = isinstance(part, Media)
            runs.append(Run(text=_clip(part) if isinstance(part, Media) else part, supervised=message.supervised and not clip, media=clip))
    return View(name=talk.id, runs=tuple(runs))


def _clip(media: Media) -> str:
    """A clip by name, span and what is muted."""
    end = "" if media.end_s is None else f"{media.end_s:g}"
    span = "" if media.start_s is None and media.end_s is None else f" {media.start_s or 0:g}-{end} s"
    mute = f", without {' and '.join(media.mute)}" if media.mute else ""
    return f"{media.kind} {media.name}{span}{mute}"


def view_of_row(row: Row, processor: UniFusionProcessor, name: str) -> View:
    """A conversation as the model's tokens: (S,) ids and labels of a row of its processor."""
    from unifusion.processor.processor import IGNORED

    streams = {number: stream for stream, number in processor.placeholder_ids.items()}
    sorts = [(streams.get(i, ""), label != IGNORED) for i, label in zip(row.ids, row.labels, strict=True)]
    runs, begin = list[Run](), 0
    for at in range(1, len(sorts) + 1):
        if at == len(sorts) or sorts[at] != sorts[begin]:
            stream, supervised = sorts[begin]
            text = stream or processor.decode(row.ids[begin:at], skip_special_tokens=False)
            runs.append(Run(text=text, tokens=at - begin, supervised=supervised, media=bool(stream)))
            begin = at
    counts = {"tokens": len(row.ids), "supervised": sum(supervised for _, supervised in sorts)}
    counts |= dict(sorted(Counter(stream for stream, _ in sorts if stream).items()))
    return View(name=name, runs=tuple(runs), counts=counts)


def _visible(text: str) -> str:
    """Text with control characters other than a new line written out."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _shown(run: Run) -> str:
    """The text of a run; places of a stream as its name and their number, control characters written out."""
    text = _visible(run.text)
    return f"[{text}{f' x {run.tokens}' if run.tokens else ''}]" if run.media else text


def _told(view: View) -> str:
    """The counts of a view in words."""
    return ", ".join(f"{n} {name}" for name, n in view.counts.items())


def as_text(view: View) -> str:
    """A view for a terminal: supervised tokens green, clips cyan."""
    head = f"{_DIM}# {_visible(view.name)}{': ' * bool(view.counts)}{_told(view)}{_RESET}"
    colours = {(False, False): "", (True, False): _GREEN, (False, True): _CYAN}
    body = "".join(f"{colour}{_shown(r)}{_RESET * bool(colour)}" for r in view.runs for colour in (colours[r.supervised, r.media],))
    return f"{head}\n{body or _visible(view.problem)}"


def as_page(views: Iterable[View], title: str) -> str:
    """Views as one page of HTML without scripts or addresses; every text is escaped."""
    return "".join(_page(list(views), html.escape(_visible(title))))


def _page(views: Sequence[View], title: str) -> Iterator[str]:
    """The pieces of the page."""
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>\n'
    yield "<p><mark>Supervised</mark> text is learnt, <i>[clips]</i> are shown, the rest is read.</p>\n"
    for view in views:
        yield f"<section><h2>{html.escape(_visible(view.name))} <small>{html.escape(_told(view))}</small></h2>"
        for run in view.runs:
            tag = "mark" if run.supervised else "i" if run.media else "span"
            yield f"<{tag}>{html.escape(_shown(run))}</{tag}>"
        yield f"<b>{html.escape(_visible(view.problem))}</b></section>\n" if view.problem else "</section>\n"
    yield "</html>\n"
