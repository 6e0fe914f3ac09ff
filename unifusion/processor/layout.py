"""The order of stamps and placeholders for one clip: time is shared by all streams.

The default interleaves windows: `t=0.0s` <video tokens> <audio tokens> `t=1.0s` .., as plain text stamps, so it needs no surgery
on any language model and an answer can cite times. Tokens of an adapter that is not windowed come in one block first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from unifusion.processor.opening import OpenedMedia

__all__ = ["Placeholder", "lay_out", "placeholder"]

Placeholder = tuple[str, int]
"""(stream, count): that many placeholder tokens of the stream."""


def placeholder(stream: str) -> str:
    """The special token that stands for one token of a stream."""
    return f"<|{stream}|>"


def lay_out(
    opened: OpenedMedia, *, window_s: float, number: int | None = None, fused: Sequence[Placeholder] = ()
) -> Iterator[str | Placeholder]:  # fmt: skip
    """Yield the control texts and placeholders of one clip in order.

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
    yield from _windows(windowed, window_s)


def _windows(times: Mapping[str, torch.Tensor], window_s: float) -> Iterator[str | Placeholder]:
    """Interleave the windowed streams by the shared clock."""
    index = {name: torch.floor(t / window_s + 1e-6).long() for name, t in times.items()}
    last = max((int(i.max()) for i in index.values() if len(i)), default=-1)
    for window in range(last + 1):
        counts = [(name, int((i == window).sum())) for name, i in index.items()]
        if any(count for _, count in counts):
            yield f"t={window * window_s:.1f}s"
            yield from ((name, count) for name, count in counts if count)
