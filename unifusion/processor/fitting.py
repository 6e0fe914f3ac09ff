"""Conversations made short enough: clips are shown more coarsely first, then text is cut, and what was left out is told.

A clip keeps its whole span: of its K windows n are kept, evenly from the first to the last, for all its streams alike. Nothing is encoded
anew: features of the other windows are masked, which adapters take for absent (`Adapter.token_times`), so it is the same for clips just
opened, features from a store and streams that are fused, and every token keeps its time. Streams whose adapter gives a fixed number of
tokens for the whole clip stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch

from unifusion.errors import LimitError
from unifusion.processor.opening import OpenedMedia
from unifusion.processor.streams import StreamSpec

__all__ = ["Fitted", "Piece", "fit_pieces", "tally", "thinned", "windows"]

_LEAST_QUESTION = 16
"""Tokens that the last question keeps, its end."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a conversation as ids.

    Attributes:
        clip: number of the clip it shows.
        text: what it says, where it is text from outside that is not supervised: such text may be cut.
        role: whose text it is.
        turn: number of the message.
    """

    ids: list[int] = field(default_factory=list)
    supervised: bool = False
    clip: int | None = None
    text: str | None = None
    role: str = ""
    turn: int = 0


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was left out of a conversation so that it has at most `max_tokens`.

    Attributes:
        clips: clips that are shown more coarsely.
        windows: (shown, there) of all clips.
        media_tokens: tokens of stamps and placeholders that are not there.
        text_tokens: tokens of text that are not there.
    """

    max_tokens: int
    clips: int = 0
    windows: tuple[int, int] = (0, 0)
    media_tokens: int = 0
    text_tokens: int = 0

    @property
    def note(self) -> str:
        """What the report says of the text; each clip has a note of its own."""
        return f"{self.text_tokens} tokens of text were left out to fit {self.max_tokens} tokens" if self.text_tokens else ""


def tally(rows: Iterable[Any]) -> dict[str, int]:
    """Count over rows what was left out of them, for a log of training: rows, coarser clips, cut texts, and tokens of both."""
    found = [row.fitted for row in rows]
    given = [f for f in found if f is not None]
    return {
        "rows": len(found),
        "rows_with_coarser_clips": sum(f.clips > 0 for f in given),
        "rows_with_cut_text": sum(f.text_tokens > 0 for f in given),
        "media_tokens_left_out": sum(f.media_tokens for f in given),
        "text_tokens_left_out": sum(f.text_tokens for f in given),
    }


def windows(clip: OpenedMedia, window_s: float) -> list[int]:
    """Numbers of the windows of the shared clock in which a clip has features of windowed streams, ascending."""
    found: set[int] = set()
    for item in clip.streams.values():
        if item.windowed:
            found.update(torch.floor(item.times_S[item.mask_S] / window_s + 1e-6).long().tolist())
    return sorted(found)


def thinned(clip: OpenedMedia, specs: Mapping[str, StreamSpec], window_s: float, count: int) -> OpenedMedia:
    """The clip with `count` of its windows, evenly from the first to the last (the middle one, if it is one)."""
    there = windows(clip, window_s)
    if count >= len(there):
        return clip
    places = [len(there) // 2] if count == 1 else [round(i * (len(there) - 1) / (count - 1)) for i in range(count)]
    kept = torch.tensor([there[p] for p in places])
    streams, reports = dict(clip.streams), dict(clip.reports)
    for name, item in clip.streams.items():
        if item.windowed:
            mask_S = item.mask_S & torch.isin(torch.floor(item.times_S / window_s + 1e-6).long(), kept)
            placed = specs[name].adapter_class.token_times(specs[name].adapter_choices, item.times_S, mask_S)
            streams[name] = replace(item, mask_S=mask_S, token_times_Q=placed)
            reports[name] = replace(reports[name], tokens=len(placed))
    return replace(clip, streams=streams, reports=reports)


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How conversations of one processor are measured and thinned.

    Attributes:
        pieces: clips -> the conversation's pieces.
        shown: (number of a clip, the clip) -> tokens it is shown by.
        encode: text from outside -> ids.
        specs: the streams.
        window_s: length of a window of the shared clock.
    """

    pieces: Callable[[Sequence[OpenedMedia]], Iterable[Piece]]
    shown: Callable[[int, OpenedMedia], int]
    encode: Callable[[str], list[int]]
    specs: Mapping[str, StreamSpec]
    window_s: float


def fit_pieces(how: Fitting, clips: Sequence[OpenedMedia], most: int, name: str) -> tuple[list[Piece], list[OpenedMedia], Fitted]:
    """Return pieces of at most `most` tokens, their clips, and what was left out.

    Raises:
        LimitError: what may not be left out is longer; names the conversation.
    """
    pieces = list(how.pieces(clips))
    whole, before = _length(pieces), sum(len(p.ids) for p in pieces if p.clip is not None)
    if whole <= most:
        return pieces, list(clips), Fitted(max_tokens=most)
    counts = _counts(how, clips, most - (whole - before))
    there = [len(windows(c, how.window_s)) for c in clips]
    coarse = []
    for clip, count, full in zip(clips, counts, there, strict=True):
        told = f"shown {count} of {full} windows to fit {most} tokens"
        thin = thinned(clip, how.specs, how.window_s, count)
        coarse.append(clip if count == full else replace(thin, notes=(*clip.notes, told)))
    pieces = list(how.pieces(coarse))
    media = sum(len(p.ids) for p in pieces if p.clip is not None)
    pieces, cut = _cut(how, pieces, most)
    if _length(pieces) > most:
        raise LimitError(
            f"conversation {name} has {whole} tokens, and {_length(pieces)} when clips are shown as coarsely and text is cut as far as"
            f" may be; the limit is {most};",
            remedy="raise the limit, shorten the answers, or show fewer clips.",
        )
    fitted = Fitted(
        max_tokens=most, clips=sum(n < full for n, full in zip(counts, there, strict=True)), windows=(sum(counts), sum(there)),
        media_tokens=before - media, text_tokens=cut,
    )  # fmt: skip
    return pieces, coarse, fitted


def _length(pieces: Iterable[Piece]) -> int:
    """Tokens in all."""
    return sum(len(p.ids) for p in pieces)


def _counts(how: Fitting, clips: Sequence[OpenedMedia], room: int) -> list[int]:
    """How many windows each clip keeps: the greatest common cap on a clip's tokens under which all fit, so the longest give way first."""
    there = [len(windows(c, how.window_s)) for c in clips]

    @cache
    def cost(number: int, count: int) -> int:
        return how.shown(number, thinned(clips[number], how.specs, how.window_s, count))

    def capped(cap: int) -> list[int]:
        return [_most(lambda n, i=i: cost(i, n) <= cap, 1, full) for i, full in enumerate(there)]  # type: ignore[misc]

    def total(counts: Sequence[int]) -> int:
        return sum(cost(i, n) for i, n in enumerate(counts))

    top = max((cost(i, n) for i, n in enumerate(there)), default=0)
    counts = capped(_most(lambda cap: total(capped(cap)) <= room, 0, top))
    for number, full in enumerate(there):  # what is left over goes to the first that can use it
        while counts[number] < full and total([n + (i == number) for i, n in enumerate(counts)]) <= room:
            counts[number] += 1
    return counts


def _most(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The greatest number from `low` to `high` that fits, if those below one that fits do too; `low` where none does."""
    low = min(low, high)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _cut(how: Fitting, pieces: list[Piece], most: int) -> tuple[list[Piece], int]:
    """Cut texts at their beginning until all fit: the oldest turns first, then the system's, the last question last; and tokens cut."""
    last = max((p.turn for p in pieces if p.role == "user"), default=-1)
    order = sorted((p.turn == last, p.role == "system", p.turn, i) for i, p in enumerate(pieces) if p.text)
    question = sum(len(p.ids) for p in pieces if p.text and p.turn == last)
    out, cut = list(pieces), 0
    for is_last, _, _, number in order:
        excess = _length(out) - most
        if excess <= 0:
            break
        piece = out[number]
        least = max(0, _LEAST_QUESTION - (question - len(piece.ids))) if is_last else 0
        shorter = _end_of(how, piece, max(len(piece.ids) - excess, least))
        question -= len(piece.ids) - len(shorter.ids) if is_last else 0
        cut += len(piece.ids) - len(shorter.ids)
        out[number] = shorter
    return out, cut


def _end_of(how: Fitting, piece: Piece, most: int) -> Piece:
    """The longest end of a piece's text of at most `most` tokens, found in its characters: a token may hold a part of one."""
    text = piece.text or ""
    kept = _most(lambda n: len(how.encode(text[len(text) - n :])) <= most, 0, len(text)) if most > 0 else 0
    end = text[len(text) - kept :]
    return replace(piece, text=end, ids=how.encode(end) if end else [])
