"""The order of stamps and placeholders for one clip: time is shared by all streams.

The default interleaves windows: `t=0.0s` <video tokens> <audio tokens> `t=1.0s` .., as plain text stamps, so it needs no surgery
on any language model and an answer can cite times. Tokens of an adapter that is not windowed come in one block first. Timed words that
no stream reads stand as stamped lines behind the window in which they begin: `t=2.4s "Hello."`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from unifusion.conversation import Line
from unifusion.processor.opening import OpenedMedia

__all__ = ["Placeholder", "Spoken", "lay_out", "placeholder", "stamped"]

Placeholder = tuple[str, int]
"""(stream, count): that many placeholder tokens of the stream."""


@dataclass(frozen=True)
class Spoken:
    """A stamped line of words. It is text from outside: it never becomes a control token."""

    text: str


def stamped(line: Line) -> Spoken:
    """`t=2.4s "Hello."`: when the line begins, and its words without the marks that end it."""
    words = line.text.replace('"', "'")
    return Spoken(f't={line.start_s:.1f}s "{words}" ')


def placeholder(stream: str) -> str:
    """The special token that stands for one token of a stream."""
    return f"<|{stream}|>"


def lay_out(
    opened: OpenedMedia, *, window_s: float, number: int | None = None, fused: Sequence[Placeholder] = ()
) -> Iterator[str | Placeholder | Spoken]:  # fmt: skip
    """Yield the control texts, placeholders and stamped lines of one clip in order.

    Args:
        opened: the clip.
        window_s: length of one window of the shared clock.
        number: 1-based number of the clip, told when a conversation has several.
        fused: names and numbers of tokens of what several streams give together.
    """
    if number is not None:
        yield f"clip {number}: "
    for name, report in opened.reports.items():
        if not report.present:
            yield f"no {name}. "
    yield from fused
    times = {n: s.token_times_Q for n, s in opened.streams.items()}
    for name, item in opened.streams.items():
        if not item.windowed and len(times[name]):
            yield (name, len(times[name]))
    windowed = {n: t for n, t in times.items() if opened.streams[n].windowed}
    yield from _windows(windowed, window_s, sorted(opened.shown_lines, key=lambda line: line.start_s))


def _windows(
    times: Mapping[str, torch.Tensor], window_s: float, lines: Sequence[Line]
) -> Iterator[str | Placeholder | Spoken]:  # fmt: skip
    """Interleave the windowed streams, and lines by their start, on the shared clock."""
    told = 0
    index = {name: torch.floor(t / window_s + 1e-6).long() for name, t in times.items()}
    last = max((int(i.max()) for i in index.values() if len(i)), default=-1)
    for window in range(last + 1):
        counts = [(name, int((i == window).sum())) for name, i in index.items()]
        if any(count for _, count in counts):
            yield f"t={window * window_s:.1f}s"
            yield from ((name, count) for name, count in counts if count)
        while told < len(lines) and lines[told].start_s < (window + 1) * window_s - 1e-6:
            yield stamped(lines[told])
            told += 1
    yield from (stamped(line) for line in lines[told:])
