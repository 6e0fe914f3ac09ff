"""Batch, Output, Features and ModalityReport; the legend of shape letters for the whole package.

| letter | meaning | letter | meaning |
|---|---|---|---|
| B | rows of a batch (conversations or clips) | Q | queries or output tokens of an adapter |
| C | chunks an encoder takes at once (or colour channels, beside H and W) | D | width |
| T | frames | V | vocabulary |
| S | tokens of a sequence | N | samples of a waveform, or rows of a flat list |
| M | media items of a batch | K | windows |

A tensor's name ends in its shape: `tokens_BSD`, `mask_BS`, `waveform_N`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Features", "ModalityReport", "StreamBatch", "StreamReport", "WordsReport"]

StreamBatch = Mapping[str, Any]
"""What one stream feeds its encoder for a whole batch: a plain dict of tensors, so Trainer and `.to()` can walk it.

| key | shape | meaning |
|---|---|---|
| `rows` | (M,) int64 | row of the batch each media item belongs to, ascending |
| `times` | (M, S) float32 | seconds of each feature token the encoder will give |
| `mask` | (M, S) bool | which of them are real |
| `chunks` | (M,) int64 | chunks per media item; the sum is C |
| encoder's own | (C, ..) | pixel_values, input_features .. |
| `tokens` | (M, S, D) | instead of the last two: outputs read from the feature store |
"""


@dataclass(frozen=True)
class Features:
    """Tokens with a time in seconds each.

    Attributes:
        tokens_BSD: float features.
        mask_BS: bool, True where the token is real.
        times_BS: float32 seconds from the start of the span, the centre of what the token covers.
    """

    tokens_BSD: Tensor
    mask_BS: Tensor
    times_BS: Tensor


@dataclass(kw_only=True)
class StreamReport:
    """What one stream of one clip gave the model."""

    modality: str
    present: bool
    seconds: float = 0.0
    """Seconds really decoded and shown to the encoder."""
    frames: int = 0
    samples: int = 0
    tokens: int = 0
    """Tokens given to the language model."""
    cropped_s: float = 0.0
    """Seconds left out at the end."""
    reason: str = ""
    """Why it is absent or cropped."""


@dataclass(frozen=True, kw_only=True)
class WordsReport:
    """Timed words of one clip that the model was given.

    Attributes:
        source: a file's name, `embedded`, or the model that heard them; "" where whoever gave them did not say.
        lines: how many; 0 where none of those given lies in the span.
        seconds: in which at least one of them is said.
        place: `stream`, read by an encoder, `prompt`, stamped lines of text, or `unread`, of no use to the model.
    """

    source: str
    lines: int
    seconds: float
    place: str

    def summary(self) -> str:
        """For people: `words 3 lines, 4.2 s, from talk.srt, in the prompt`."""
        origin = f", from {self.source}" if self.source else ""
        where = {"prompt": ", in the prompt", "unread": ", which no stream of the model reads"}.get(self.place, "")
        return f"words {self.lines} lines, {self.seconds:.1f} s{origin}{where}"


@dataclass(kw_only=True)
class ModalityReport:
    """Which streams an answer really heard and saw.

    `streams` sums over all clips of the conversation; `clips` has one mapping per clip when there are several. `words` has an entry for
    each clip that came with timed words.
    """

    streams: dict[str, StreamReport] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    clips: list[dict[str, Any]] = field(default_factory=list)
    words: list[WordsReport] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: `{"streams": {"video": {"present": .., ..}, ..}, "notes": [..], "clips": [..]}`; `words` where there are any."""
        told = {"streams": {k: asdict(v) for k, v in self.streams.items()}, "notes": list(self.notes), "clips": list(self.clips)}
        return {**told, "words": [asdict(w) for w in self.words]} if self.words else told

    def summary(self) -> str:
        """One line for people: `video 6.0 s (24 frames, 24 tokens), audio absent: the file has no sound`."""
        parts = []
        for name, s in self.streams.items():
            detail = f"{s.seconds:.1f} s, " + (f"{s.frames} frames, " if s.frames else "") + f"{s.tokens} tokens"
            parts.append(f"{name} {detail}" if s.present else f"{name} absent: {s.reason}")
        return "; ".join([*parts, *(w.summary() for w in self.words), *self.notes]) or "text only"
