"""What an emotion hangs on: each window of each stream is occluded in turn, and the label's probability asked for again.

Occlusion after Zeiler and Fergus (2014), on features instead of pixels: the tokens of a window are replaced by the mean of the stream's
others, so that length, times and layout stay. Encoders run once, whatever the number of windows. What a rationale claims is tried the same
way: evidence of a window that the label does not hang on is no reason for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from unifusion.conversation import Media
from unifusion.engine.affect import AffectEngine
from unifusion.engine.answers import EmotionAnswer
from unifusion.engine.emotion import Moment, answer_moments, open_moment, score_moments
from unifusion.engine.engine import Engine
from unifusion.errors import ConfigError
from unifusion.models.opened_rows import OpenedRow
from unifusion.processor import StreamItem

__all__ = [
    "LEAST", "Asked", "AskedChat", "AskedFusion", "Claim", "Explanation", "Occlusion", "ask_about", "explain", "occluded", "windows_of",
]  # fmt: skip

Streams = Mapping[str, StreamItem]
_OF_EVIDENCE = {"picture": ("video", "image"), "sound": ("audio",), "words": ("text", "audio")}
"""What evidence calls a stream -> modalities."""
LEAST = 1e-4
"""By so much the probability must fall for a claim to be supported."""


@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """One window left out.

    Attributes:
        stream: of which.
        start_s, end_s: in the clip.
        probability: of the label without it.
        drop: by how much that is lower than with it; below 0 the window spoke against the label.
        clip: number of the clip, where there are several.
    """

    stream: str
    start_s: float
    end_s: float
    probability: float
    drop: float
    clip: int = 0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A piece of a rationale's evidence, tried.

    Attributes:
        stream: as the rationale calls it.
        start_s, end_s, text: what it says.
        drop: of the label's probability without that window.
        supported: it falls.
    """

    stream: str
    start_s: float
    end_s: float
    text: str
    drop: float
    supported: bool


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What the label hangs on.

    Attributes:
        label, probability: with everything there.
        windows: each occluded alone; of streams whose seconds are the clip's.
        without: stream -> the label's probability with the stream left out, where there are others.
        claims: the rationale's evidence, tried.
        support: share of the claims whose window lowers the probability; None without claims.
    """

    label: str
    probability: float
    windows: tuple[Occlusion, ...]
    without: dict[str, float]
    claims: tuple[Claim, ...] = ()
    support: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return _rounded(asdict(self))  # type: ignore[no-any-return]


def _rounded(value: Any) -> Any:
    """Numbers to six digits."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list | tuple) else value


def occluded(item: StreamItem, start_s: float, end_s: float) -> StreamItem | None:
    """A stream with the tokens of [start_s, end_s) replaced by the mean of its other real tokens; None where it has none there.

    With nothing else to take the mean of, they become zeros. What else goes into the language model at their places does alike.
    """
    if item.tokens_SD is None:
        return None
    inside_S = item.mask_S & (item.times_S >= start_s) & (item.times_S < end_s)
    if not bool(inside_S.any()):
        return None
    others_S = item.mask_S & ~inside_S

    def hidden(x: torch.Tensor) -> torch.Tensor:
        """Of (S, ..)."""
        real, inside, others = x.float(), inside_S.to(x.device), others_S.to(x.device)
        mean = real[others].mean(0) if bool(others.any()) else torch.zeros_like(real[0])
        return torch.where(inside.view(-1, *[1] * (x.dim() - 1)), mean, real).to(x.dtype)

    beside = {k: hidden(v) if k == "deep" else v for k, v in item.tensors.items()}
    return replace(item, tokens_SD=hidden(item.tokens_SD), tensors=beside)


class Asked(ABC):
    """Clips of one moment, opened and encoded once, and the probability of a label with some of their features replaced.

    Attributes:
        clips: the streams of each.
        modality: stream -> modality.
        clocked: streams whose seconds are those of the clips.
    """

    clips: Sequence[Streams]
    modality: Mapping[str, str]
    clocked: frozenset[str]

    @abstractmethod
    def answer(self) -> EmotionAnswer:
        """What is told with everything there."""

    @abstractmethod
    def probabilities(self, variants: Sequence[Sequence[Streams]]) -> list[dict[str, float]]:
        """Label -> probability for each variant of the clips' streams."""

    def told(self, label: str, variants: Sequence[Sequence[Streams]], batch_size: int = 16) -> list[float]:
        """The probability of a label for each variant.

        Raises:
            ConfigError: the label was not offered.
        """
        found = [p for i in range(0, len(variants), batch_size) for p in self.probabilities(variants[i : i + batch_size])]
        if found and label not in found[0]:
            raise ConfigError(f"the label {label!r} is not among {', '.join(found[0]) or 'any'};", remedy="explain what was answered.")
        return [p[label] for p in found]

    def hiding(self, evidence: str, start_s: float, end_s: float) -> Sequence[Streams]:
        """The clips with a window occluded in all streams that a piece of evidence may be from: picture, sound or words."""
        kinds = _OF_EVIDENCE.get(evidence, (evidence,))
        named = [n for n, kind in self.modality.items() if kind in kinds and n in self.clocked]
        return [{n: (occluded(s, start_s, end_s) or s) if n in named else s for n, s in clip.items()} for clip in self.clips]

    @property
    def duration_s(self) -> float:
        """The last second of any stream."""
        ends = [float(s.times_S[s.mask_S].max()) for c in self.clips for n, s in c.items() if n in self.clocked and bool(s.mask_S.any())]
        return max(ends, default=0.0)


class AskedChat(Asked):
    """Of a chat model.

    Args:
        engine: where it is.
        moment: the clips, opened.
        labels: the closed set; None takes the task's default.
    """

    def __init__(self, engine: Engine, moment: Moment, labels: Sequence[str] | None) -> None:
        self.engine, self.moment, self.labels = engine, moment, labels
        self.clips = [clip.streams for clip in moment.opened]
        self.modality = {n: r.modality for clip in moment.opened for n, r in clip.reports.items()}
        self.clocked = frozenset(self.modality)

    def answer(self) -> EmotionAnswer:
        """Label, valence and arousal, rationale."""
        return answer_moments(self.engine, [self.moment], self.labels)[0]

    def probabilities(self, variants: Sequence[Sequence[Streams]]) -> list[dict[str, float]]:
        """Label -> probability for each variant of the clips' streams."""
        opened = self.moment.opened
        moments = [
            replace(self.moment, opened=[replace(c, streams=dict(s)) for c, s in zip(opened, v, strict=True)]) for v in variants
        ]
        return [dict(zip(s.labels, s.probabilities, strict=True)) for s in score_moments(self.engine, moments, self.labels)]


class AskedFusion(Asked):
    """Of a trained fusion.

    Args:
        engine: where it is.
        row: opened and encoded.
        labels: some of the model's; None takes all.
    """

    def __init__(self, engine: AffectEngine, row: OpenedRow, labels: Sequence[str] | None) -> None:
        self.engine, self.row, self.labels = engine, row, labels
        self.clips = [row.streams]
        self.modality = {n: r.modality for n, r in row.reports.items()}
        self.clocked = frozenset(n for n, s in engine.model.config.streams.items() if s.reads == "clip")

    def answer(self) -> EmotionAnswer:
        """Label, valence and arousal."""
        return self.engine.answers([self.row], self.labels)[0]

    def probabilities(self, variants: Sequence[Sequence[Streams]]) -> list[dict[str, float]]:
        """Label -> probability for each variant of the row's streams."""
        return [a.probabilities for a in self.engine.answers([replace(self.row, streams=dict(s)) for (s,) in variants], self.labels)]


def ask_about(engine: Engine | AffectEngine, media: Sequence[Media], labels: Sequence[str] | None = None) -> Asked:
    """Open and encode the clips of one moment.

    Raises:
        UniFusionError: a clip cannot be opened, or a label is unknown to the model.
    """
    if isinstance(engine, AffectEngine):
        engine.check_labels(labels)
        return AskedFusion(engine, engine.encoded(engine.open(media)), labels)
    return AskedChat(engine, open_moment(engine, media, labels), labels)


def explain(asked: Asked, answer: EmotionAnswer, *, window_s: float = 1.0, batch_size: int = 16) -> Explanation:
    """Try what an answer hangs on.

    Args:
        asked: the clips.
        answer: its label, and its evidence where it has some.
        window_s: seconds of each window.
        batch_size: variants told at once.

    Raises:
        ConfigError: the window has no length, or the answer has no label of the set.
    """
    if not window_s > 0:
        raise ConfigError(f"windows of {window_s} s;", remedy="take more than 0.")
    names = sorted({n for clip in asked.clips for n in clip})
    names = names if len(names) > 1 else []
    windows = list(windows_of(asked, window_s))
    without = [[{n: item for n, item in clip.items() if n != name} for clip in asked.clips] for name in names]
    claimed = [asked.hiding(str(e["stream"]), float(e["start_s"]), float(e["end_s"])) for e in answer.evidence]
    variants = [asked.clips, *[v for _, v in windows], *without, *claimed]
    base, *found = asked.told(answer.label, variants, batch_size)
    rest = iter(found)
    tried = tuple(
        Occlusion(stream=n, start_s=a, end_s=b, probability=(p := next(rest)), drop=base - p, clip=k) for (k, n, a, b), _ in windows
    )
    left = {name: next(rest) for name in names}
    claims = tuple(_claim(piece, base - p) for piece, p in zip(answer.evidence, rest, strict=True))
    support = sum(c.supported for c in claims) / len(claims) if claims else None
    return Explanation(label=answer.label, probability=base, windows=tried, without=left, claims=claims, support=support)


def _claim(piece: Mapping[str, Any], drop: float) -> Claim:
    """A piece of evidence with what its window is worth."""
    span = {"start_s": float(piece["start_s"]), "end_s": float(piece["end_s"])}
    return Claim(stream=str(piece["stream"]), text=str(piece["text"]), drop=drop, supported=drop > LEAST, **span)


def windows_of(asked: Asked, width_s: float) -> Iterator[tuple[tuple[int, str, float, float], Sequence[Streams]]]:
    """Each window of each stream of each clip (number of the clip, stream, start, end), and the clips without it."""
    for k, streams in enumerate(asked.clips):
        for name, item in streams.items():
            if name not in asked.clocked or item.tokens_SD is None or not bool(item.mask_S.any()):
                continue
            end_s = float(item.times_S[item.mask_S].max())
            for at in range(int(end_s / width_s) + 1):
                start, stop = at * width_s, (at + 1) * width_s
                changed = occluded(item, start, stop)
                if changed is not None:
                    yield (k, name, start, stop), [*asked.clips[:k], {**streams, name: changed}, *asked.clips[k + 1 :]]
