"""Emotion over a long recording: a window slides over it, and each step of it is told from the window that ends there.

Memory is bounded by windows and pieces, not by the recording. Windows overlap, so most of what an encoder is shown it has seen: each of
its chunks is encoded once (chunks of equal content give equal features, to rounding in batches of another size, 1e-4 of a probability).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unifusion.batch import StreamReport
from unifusion.conversation import Clip, Media, MediaKind
from unifusion.engine.affect import AffectEngine
from unifusion.engine.emotion import Moment, feel_moments, score_moments
from unifusion.engine.engine import Engine
from unifusion.engine.recording import EPSILON_S, Kept
from unifusion.errors import ConfigError, NoStreamError
from unifusion.media.augment import level_db
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.models.opened_rows import OpenedRow
from unifusion.processor import OpenedMedia, StreamItem

__all__ = ["Window", "rates_of", "smoothed", "stream_emotions"]

_SILENT_DB, _MOMENT_S = -60.0, 0.025
"""Sound whose loudest 25 ms are softer is silence."""
_BLANK = 3.0
"""Standard deviation, of 255, below which every frame of a window shows nothing."""
_CHUNKS = 1024
"""Chunks whose features are kept."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one window shows.

    Attributes:
        start_s, end_s: in the recording.
        label: "" where there was nothing to hear or see.
        probabilities: label -> share.
        valence, arousal: None where they are not told.
        streams: that were there.
        absent: stream -> why not.
    """

    start_s: float
    end_s: float
    label: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    valence: float | None = None
    arousal: float | None = None
    streams: tuple[str, ...] = ()
    absent: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "start_s": round(self.start_s, 3), "end_s": round(self.end_s, 3), "label": self.label or None,
            "probabilities": {k: round(v, 6) for k, v in self.probabilities.items()}, "valence": self.valence, "arousal": self.arousal,
            "streams": list(self.streams), "absent": dict(self.absent),
        }  # fmt: skip


def rates_of(engine: Engine | AffectEngine) -> tuple[float | None, int | None]:
    """Frames and samples a second that a recording is decoded at for an engine; None where it takes no picture, or no sound."""
    opener = engine.opener if isinstance(engine, AffectEngine) else engine.processor.opener
    found: tuple[float | None, int | None] = opener.rates
    return found


def stream_emotions(
    engine: Engine | AffectEngine, pieces: Iterable[Clip], *, window_s: float = 4.0, hop_s: float = 1.0, batch_size: int = 8,
    labels: Sequence[str] | None = None,
) -> Iterator[Window]:  # fmt: skip
    """Tell every window of a recording, in order; what remains at its end, half a hop or more, is a window too.

    Args:
        engine: chat models tell labels by likelihood and write no rationale.
        pieces: of the recording, following each other; see `recording`.
        window_s: seconds that each window sees.
        hop_s: from window to window.
        batch_size: windows told at once; 1 tells each as soon as it is there.
        labels: to choose among.

    Raises:
        ConfigError: a length is not positive, the model sees no such long windows, or a label is unknown to it.
        MediaError: the recording cannot be read.
    """
    teller = _teller(engine, labels)
    if not (window_s > 0 and hop_s > 0 and batch_size > 0):
        raise ConfigError(f"windows of {window_s} s, {hop_s} s apart, {batch_size} at once;", remedy="give positive numbers.")
    if window_s > teller.max_seconds:
        raise ConfigError(f"windows of {window_s:g} s, the model sees {teller.max_seconds:g} s;", remedy="take shorter ones.")
    waiting: list[Clip] = []
    for clip in _windows(pieces, window_s, hop_s):
        waiting.append(clip)
        if len(waiting) == batch_size:
            yield from teller.told(waiting)
            waiting = []
    yield from teller.told(waiting)


def _windows(pieces: Iterable[Clip], window_s: float, hop_s: float) -> Iterator[Clip]:
    """The arrays of each window."""
    kept = Kept(most_s=2 * window_s + hop_s + 120.0)
    number, last_s = 0, -1.0
    for piece in pieces:
        kept.add(piece)
        begin_s = kept.begin_s or 0.0
        while (end_s := begin_s + window_s + number * hop_s) <= kept.end_s + EPSILON_S:
            yield kept.window(end_s - window_s, end_s)
            number, last_s = number + 1, end_s
        kept.let_go(begin_s + number * hop_s)
    rest_s = kept.end_s - (last_s if number else kept.begin_s or 0.0)
    if kept.begin_s is not None and rest_s > (hop_s / 2 if number else EPSILON_S):
        yield kept.window(max(kept.begin_s, kept.end_s - window_s), kept.end_s)


def smoothed(windows: Iterable[Window], seconds: float) -> Iterator[Window]:
    """Each window with the mean probabilities, valence and arousal of those that ended in the `seconds` up to it and told something.

    Only what came before counts, so that it can be told as it comes. A window of nothing stays one.
    """
    recent: deque[Window] = deque()
    for window in windows:
        if seconds <= 0 or not window.label:
            yield window
            continue
        recent.append(window)
        while recent[0].end_s <= window.end_s - seconds + EPSILON_S and len(recent) > 1:
            recent.popleft()
        shares = {k: sum(w.probabilities[k] for w in recent) / len(recent) for k in window.probabilities}
        felt = [[x for w in recent if (x := getattr(w, name)) is not None] for name in ("valence", "arousal")]
        valence, arousal = (sum(xs) / len(xs) if xs else None for xs in felt)
        yield replace(window, label=max(shares, key=lambda k: shares[k]), probabilities=shares, valence=valence, arousal=arousal)


class _Teller(ABC):
    """Tells windows by one kind of engine."""

    max_seconds: float

    def told(self, clips: Sequence[Clip]) -> list[Window]:
        """Windows of some arrays."""
        shown = [_shown(clip) for clip in clips]
        opened = [self._tried(clip) for clip, _ in shown]
        answers = iter(self.answers([o for o in opened if not isinstance(o, NoStreamError)]))
        return [
            _silent(clip, why) if isinstance(one, NoStreamError) else _window(clip, why, *next(answers))
            for one, (clip, why) in zip(opened, shown, strict=True)
        ]

    def _tried(self, clip: Clip) -> Any:
        """A window opened, or that there is nothing in it."""
        kind: MediaKind = "audio" if clip.frames_THWC is None else "video"
        try:
            if clip.frames_THWC is None and clip.waveform_N is None:
                raise NoStreamError("nothing to hear or see;", remedy="")
            return self.open(Media(kind=kind, source=clip))
        except NoStreamError as error:
            return error

    @abstractmethod
    def open(self, media: Media) -> Any:
        """Preprocess a window."""

    @abstractmethod
    def answers(self, opened: Sequence[Any]) -> list[tuple[dict[str, float], float | None, float | None, Mapping[str, StreamReport]]]:
        """Shares of the labels, valence, arousal, and the streams of each."""


def _teller(engine: Engine | AffectEngine, labels: Sequence[str] | None) -> _Teller:
    """By the kind of engine."""
    return _FusionTeller(engine, labels) if isinstance(engine, AffectEngine) else _ChatTeller(engine, labels)


def _shown(clip: Clip) -> tuple[Clip, dict[str, str]]:
    """A window without what shows nothing, and why that is left out, by modality."""
    why: dict[str, str] = {}
    if clip.waveform_N is not None:
        step = max(1, round(_MOMENT_S * clip.sampling_rate_hz))
        wave_N = clip.waveform_N
        if max(level_db(wave_N[i : i + step]) for i in range(0, max(1, len(wave_N) - step + 1), step)) < _SILENT_DB:
            why["audio"] = "silence"
            clip = replace(clip, waveform_N=None)
    if clip.frames_THWC is not None and all(float(np.std(frame[::4, ::4])) < _BLANK for frame in clip.frames_THWC):
        why["video"] = "the picture shows nothing"
        clip = replace(clip, frames_THWC=None, frame_times_s=None)
    return clip, why


def _silent(clip: Clip, why: Mapping[str, str]) -> Window:
    """A window of nothing."""
    return Window(start_s=clip.start_s, end_s=clip.start_s + clip.duration_s, absent=dict(why))


def _window(
    clip: Clip, why: Mapping[str, str], shares: Mapping[str, float], valence: float | None, arousal: float | None,
    reports: Mapping[str, StreamReport],
) -> Window:  # fmt: skip
    """What is told of one."""
    absent = {n: why.get("video" if r.modality == "image" else r.modality, r.reason) for n, r in reports.items() if not r.present}
    return Window(
        start_s=clip.start_s, end_s=clip.start_s + clip.duration_s, label=max(shares, key=lambda k: shares[k], default=""),
        probabilities=dict(shares), valence=valence, arousal=arousal, streams=tuple(n for n, r in reports.items() if r.present),
        absent=absent,
    )  # fmt: skip


class _ChatTeller(_Teller):
    """A chat model, ours or an existing one."""

    def __init__(self, engine: Engine, labels: Sequence[str] | None) -> None:
        self.engine, self.labels = engine, labels
        self.max_seconds = float(engine.processor.opener.max_seconds)
        own = isinstance(engine.model, UniFusionForConditionalGeneration)
        self.chunks = _Chunks(engine.model.features, engine.model.device) if own else None

    def open(self, media: Media) -> OpenedMedia:
        """Preprocess a window."""
        return self.engine.processor.open(media)

    def answers(self, opened: Sequence[OpenedMedia]) -> list[tuple[dict[str, float], float | None, float | None, Any]]:
        """Labels by likelihood, valence and arousal by a short answer."""
        if not opened:
            return []
        if self.chunks is not None:
            streams = self.chunks.encoded([o.streams for o in opened])
            opened = [replace(o, streams=s) for o, s in zip(opened, streams, strict=True)]
        else:
            opened = [self.engine.encode(o) for o in opened]
        moments = [Moment([o.media], [o]) for o in opened]
        scores = score_moments(self.engine, moments, self.labels)
        felt = feel_moments(self.engine, moments)
        return [
            (dict(zip(s.labels, s.probabilities, strict=True)), *va, o.reports) for s, va, o in zip(scores, felt, opened, strict=True)
        ]


class _FusionTeller(_Teller):
    """A trained fusion."""

    def __init__(self, engine: AffectEngine, labels: Sequence[str] | None) -> None:
        engine.check_labels(labels)
        self.engine, self.labels = engine, labels
        self.max_seconds = engine.model.config.max_seconds
        self.chunks = _Chunks(engine.model.features, engine.model.device)

    def open(self, media: Media) -> OpenedRow:
        """Preprocess a window."""
        return self.engine.open([media])

    def answers(self, opened: Sequence[OpenedRow]) -> list[tuple[dict[str, float], float | None, float | None, Any]]:
        """All at once."""
        if not opened:
            return []
        streams = self.chunks.encoded([row.streams for row in opened])
        told = self.engine.answers([replace(r, streams=s) for r, s in zip(opened, streams, strict=True)], self.labels)
        return [(a.probabilities, a.valence, a.arousal, row.reports) for a, row in zip(told, opened, strict=True)]


class _Chunks:
    """Encodes each chunk of an encoder's input once, as long as it is remembered.

    Args:
        features: stream and its batch -> Features.
        device: of the encoders.
    """

    def __init__(self, features: Any, device: torch.device) -> None:
        self._features, self._device = features, device
        self._known: OrderedDict[tuple[str, bytes], Tensor] = OrderedDict()

    @torch.no_grad()
    def encoded(self, windows: Sequence[Mapping[str, StreamItem]]) -> list[dict[str, StreamItem]]:
        """Streams with features in place of the encoders' input."""
        keys = [{n: _chunk_keys(n, item) for n, item in streams.items()} for streams in windows]
        missing: dict[str, dict[tuple[str, bytes], tuple[StreamItem, int]]] = {}
        for streams, own in zip(windows, keys, strict=True):
            for name, item in streams.items():
                for c, key in enumerate(own[name]):
                    if key not in self._known:
                        missing.setdefault(name, {}).setdefault(key, (item, c))
        for name, new in missing.items():
            self._encode(name, new)
        out = []
        for streams, own in zip(windows, keys, strict=True):
            found = {}
            for name, item in streams.items():
                tokens_SD = torch.cat([self._known[key] for key in own[name]])[: len(item.times_S)]
                self._known.update((key, self._known.pop(key)) for key in own[name])  # the latest use last
                found[name] = replace(item, tensors={}, tokens_SD=tokens_SD * item.mask_S[:, None].to(tokens_SD.device))
            out.append(found)
        while len(self._known) > _CHUNKS:
            self._known.popitem(last=False)
        return out

    def _encode(self, name: str, new: Mapping[tuple[str, bytes], tuple[StreamItem, int]]) -> None:
        """Run the encoder on chunks as if they were one long clip."""
        first, _ = next(iter(new.values()))
        tensors = {k: torch.stack([item.tensors[k][c] for item, c in new.values()]).to(self._device) for k in first.tensors}
        tokens = len(first.times_S) // len(next(iter(first.tensors.values())))
        times_1S = torch.zeros(1, tokens * len(new), device=self._device)
        batch = {"chunks": torch.tensor([len(new)], device=self._device), "times": times_1S, "mask": torch.ones_like(times_1S).bool()}
        found = self._features(name, {**batch, **tensors}).tokens_BSD[0].unflatten(0, (len(new), tokens))
        self._known.update(zip(new, found.cpu(), strict=True))


def _chunk_keys(name: str, item: StreamItem) -> list[tuple[str, bytes]]:
    """A name for the content of each chunk."""
    count = len(next(iter(item.tensors.values())))
    parts = [
        [t[c].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for _, t in sorted(item.tensors.items())] for c in range(count)
    ]
    return [(name, hashlib.blake2b(b"\0".join(own), digest_size=16).digest()) for own in parts]
