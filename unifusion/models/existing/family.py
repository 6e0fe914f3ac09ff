"""The contract of one family of existing models, and the pieces that a clip is laid out as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.errors import MediaError
from unifusion.processor import OpenedMedia, StreamItem

__all__ = ["Family", "Intake", "Piece", "Prepared", "Wrap", "frame_rate", "thinned"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some tokens of a clip: a control text, or placeholders.

    Attributes:
        text: tokenised with its control tokens.
        tokens: instead, the kind of each placeholder: image, video or audio.
        at: (3, n) time, row and column of each token, counted from the first free position; None: one after another.
        ends: position, so counted, at which what follows goes on; None: behind the highest.
    """

    text: str = ""
    tokens: tuple[str, ...] = ()
    at: Tensor | None = None
    ends: float | None = None


@dataclass(frozen=True, kw_only=True)
class Wrap:
    """What a model's chat template writes before and after the placeholder of one kind."""

    before: str = ""
    after: str = ""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One stream of one clip after the model's own preprocessing.

    Attributes:
        tensors: what the network's encoder takes, and what `lay_out` needs.
        tokens: how many tokens the language model gets.
        seconds: shown to the encoder.
        frames, samples: real ones.
        notes: what a person should know.
    """

    tensors: Mapping[str, Tensor]
    tokens: int
    seconds: float
    frames: int = 0
    samples: int = 0
    notes: tuple[str, ...] = field(default=())

    def item(self) -> StreamItem:
        """The form that travels in an OpenedMedia; tokens are spread evenly over the seconds."""
        times = (torch.arange(self.tokens) + 0.5) * (self.seconds / max(self.tokens, 1))
        mask = torch.ones(self.tokens, dtype=torch.bool)
        return StreamItem(times_S=times, mask_S=mask, token_times_Q=times, tensors=dict(self.tensors), windowed=False)


class Intake:
    """Which streams of a clip a model takes, how they are decoded for it, and what becomes of them."""

    takes: ClassVar[tuple[str, ...]]
    """`video` (pictures, moving or still) and `audio`, whichever it has an input for."""
    rate_hz: float = 2.0
    """Frames per second that are decoded."""
    max_frames: int = 768
    max_seconds: float = 600.0
    """Longest span shown; the rest is cropped and reported."""
    sampling_rate_hz: int = 16_000

    def picture(self, clip: Clip, *, still: bool, most_tokens: int) -> Prepared:
        """Prepare frames (T, H, W, 3); a still as the model takes single images.

        Args:
            clip: decoded at `rate_hz`, no more than `max_frames` frames.
            still: one image.
            most_tokens: that pictures may become, where the family can trade size for it.
        """
        raise MediaError("this model has no input for pictures;", remedy="give a clip with sound.")

    def sound(self, clip: Clip) -> Prepared:
        """Prepare a waveform (N,) at `sampling_rate_hz` that begins with the span.

        Raises:
            MediaError: it is too short to become a token.
        """
        raise MediaError("this model has no input for sound;", remedy="give a clip with a picture.")


class Family(Intake, ABC):
    """What is a family's own.

    Args:
        config: of the network, from its config.json.
        settings: preprocessing by the kinds image_processor, video_processor, feature_extractor and processor, as the folder says.
    """

    network: ClassVar[str]
    """Class of transformers that answers in text."""
    tripled: ClassVar[bool] = False
    """Whether positions are (time, row, column)."""
    laid_out_by: ClassVar[tuple[str, ...]] = ()
    """Tensors of a stream that `lay_out` needs; they stay when the rest is encoded."""

    def __init__(self, config: Any, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self.config = config
        self.settings = settings

    @classmethod
    def template(cls) -> str | None:
        """The chat template where a folder has none, as the published processor has it in code; None for most."""
        return None

    @property
    def placeholders(self) -> dict[str, int]:
        """Kind -> id of its placeholder token, of those that the config names."""
        named = {kind: getattr(self.config, f"{kind}_token_id", None) for kind in ("image", "video", "audio")}
        named = {kind: id if id is not None else getattr(self.config, f"{kind}_token_index", None) for kind, id in named.items()}
        return {kind: int(id) for kind, id in named.items() if id is not None}

    def lay_out(self, opened: OpenedMedia, wraps: Mapping[str, Wrap]) -> list[Piece]:
        """The tokens of one clip in order: pictures, then sound, each in its wrap."""
        pieces = []
        for stream, item in opened.streams.items():
            kind = "image" if stream == "video" and opened.media.kind == "image" else stream
            inside = self.inside(kind, item)
            pieces += [Piece(text=wraps[kind].before), *inside, Piece(text=wraps[kind].after)]
        return [p for p in pieces if p.text or p.tokens]

    def inside(self, kind: str, item: StreamItem) -> list[Piece]:
        """What stands in place of a kind's placeholder."""
        return [Piece(tokens=(kind,) * len(item.token_times_Q))]

    @abstractmethod
    def encode(self, network: Any, stream: str, item: StreamItem, *, still: bool) -> dict[str, Tensor]:
        """Run the network's encoder on one stream.

        Returns:
            `tokens` (S, D), and `deep` (S, L, D) where features also go into the first L layers of the language model.
        """

    def encoded(self, network: Any, stream: str, item: StreamItem, *, still: bool) -> StreamItem:
        """The item with features in place of pixels or mels."""
        found = self.encode(network, stream, item, still=still)
        kept = {k: v for k, v in item.tensors.items() if k in self.laid_out_by}
        deep = {"deep": found["deep"]} if "deep" in found else {}
        return replace(item, tokens_SD=found["tokens"], tensors={**kept, **deep})


def frame_rate(clip: Clip, rate_hz: float) -> float:
    """Frames per second that a clip really has; the one asked for, where its frames are that far apart."""
    times = clip.frame_times_s
    if times is None or len(times) < 2:
        return rate_hz
    step_s = float(times[-1] - times[0]) / (len(times) - 1)
    return rate_hz if abs(step_s * rate_hz - 1.0) < 0.1 else 1.0 / step_s


def thinned(clip: Clip, most: int) -> Clip:
    """Keep at most `most` frames, evenly spread; a note says so."""
    if clip.frames_THWC is None or clip.frame_times_s is None or len(clip.frames_THWC) <= most:
        return clip
    chosen = np.linspace(0, len(clip.frames_THWC) - 1, most).round().astype(int)
    note = f"{most} of {len(clip.frames_THWC)} frames are shown, evenly spread"
    return replace(clip, frames_THWC=clip.frames_THWC[chosen], frame_times_s=clip.frame_times_s[chosen], notes=(*clip.notes, note))
