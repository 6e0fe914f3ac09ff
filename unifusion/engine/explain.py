"""What an emotion hangs on: each window of each stream is occluded in turn, and the label's probability asked for again.

Occlusion after Zeiler and Fergus (2014), on features instead of pixels: the tokens of a window are replaced by the mean of the stream's
others, so that length, times and layout stay. Encoders run once, whatever the number of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from unifusion.conversation import Media
from unifusion.engine.affect import AffectEngine
from unifusion.engine.answers import EmotionAnswer
from unifusion.engine.emotion import Moment
from unifusion.engine.engine import Engine
from unifusion.engine.labels import score_batch
from unifusion.errors import UniFusionError
from unifusion.processor import StreamItem

__all__ = ["Claim", "Explanation", "Occlusion", "explain", "occluded"]

Streams = Mapping[str, StreamItem]
_OF_EVIDENCE = {"picture": ("video", "image"), "sound": ("audio",), "words": ("text", "audio")}
"""What evidence calls a stream -> modalities."""
_LEAST = 1e-4
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
        windows: each left out alone.
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

    With nothing else to take the mean of, they become zeros.
    """
    if item.tokens_SD is None:
        return None
    inside_S = item.mask_S & (item.times_S >= start_s) & (item.times_S < end_s)
    if not bool(inside_S.any()):
        return None
    others_S = item.mask_S & ~inside_S
    tokens_SD = item.tokens_SD.float()
    mean_D = tokens_SD[others_S].mean(0) if bool(others_S.any()) else torch.zeros_like(tokens_SD[0])
    return replace(item, tokens_SD=torch.where(inside_S[:, None], mean_D, tokens_SD).to(item.tokens_SD.dtype))


class _Chat:
    """A chat model's clips of one moment, and the probability of a label with some streams replaced."""

    def __init__(self, engine: Engine, media: Sequence[Media], labels: Sequence[str] | None) -> None:
        self.engine, self.labels = engine, labels
        self.moment = Moment(media, [engine.open(m)[0] for m in media])
        self.clips: list[Streams] = [clip.streams for clip in self.moment.opened]
        self.modality = {n: r.modality for clip in self.moment.opened for n, r in clip.reports.items()}

    def probabilities(self, variants: Sequence[Sequence[Streams]]) -> list[dict[str, float]]:
        """Label -> probability for each variant of the clips' streams."""
        moments = [
            replace(self.moment, opened=[replace(c, streams=dict(s)) for c, s in zip(self.moment.opened, v, strict=True)]) for v in variants
        ]
        task = Moment.task(self.labels)
        rows = [m.prompt(self.engine, task) for m in moments]
        scored = score_batch(self.engine.model, self.engine.processor, rows, [task.labels] * len(rows))
        return [dict(zip(s.labels, self.engine.calibrated(s, "emotion").probabilities, strict=True)) for s in scored]


class _Fusion:
    """The same of a trained fusion."""

    def __init__(self, engine: AffectEngine, media: Sequence[Media], labels: Sequence[str] | None) -> None:
        self.engine, self.labels = engine, labels
        self.row = engine.encoded(engine.open(media))
        self.clips: list[Streams] = [self.row.streams]
        self.modality = {n: r.modality for n, r in self.row.reports.items()}

    def probabilities(self, variants: Sequence[Sequence[Streams]]) -> list[dict[str, float]]:
        """Label -> probability for each variant of the row's streams."""
        return [a.probabilities for a in self.engine.answers([replace(self.row, streams=dict(s)) for (s,) in variants], self.labels)]


def explain(
    engine: Engine | AffectEngine, media: Sequence[Media], answer: EmotionAnswer, *, labels: Sequence[str] | None = None,
    window_s: float = 1.0, batch_size: int = 16,
) -> Explanation:  # fmt: skip
    """Try what an answer hangs on.

    Args:
        engine: what gave it.
        media: the clips it was asked about.
        answer: its label, and its evidence where it has some.
        labels: that were offered.
        window_s: seconds of each window.
        batch_size: variants told at once.

    Raises:
        UniFusionError: the window has no length, or a clip cannot be opened.
    """
    if window_s <= 0:
        raise UniFusionError(f"windows of {window_s} s;", remedy="take more than 0.")
    asked: Any = (_Fusion if isinstance(engine, AffectEngine) else _Chat)(engine, media, labels)  # type: ignore[arg-type]

    def told(variants: list[Sequence[Streams]]) -> list[float]:
        parts = [asked.probabilities(variants[i : i + batch_size]) for i in range(0, len(variants), batch_size)]
        return [float(p[answer.label]) for part in parts for p in part]

    (base,) = told([asked.clips])
    windows = list(_windows(asked.clips, window_s))
    found = told([v for _, v in windows])
    tried = tuple(
        Occlusion(stream=n, start_s=a, end_s=b, probability=p, drop=base - p, clip=k)
        for ((k, n, a, b), _), p in zip(windows, found, strict=True)
    )
    names = sorted({n for clip in asked.clips for n in clip})
    names = names if len(names) > 1 else []
    whole = told([[{n: item for n, item in clip.items() if n != name} for clip in asked.clips] for name in names])
    claims = _claims(asked, answer, told, base)
    support = sum(c.supported for c in claims) / len(claims) if claims else None
    return Explanation(
        label=answer.label, probability=base, windows=tried, without=dict(zip(names, whole, strict=True)), claims=claims, support=support
    )


def _windows(clips: Sequence[Streams], width_s: float) -> Iterator[tuple[tuple[int, str, float, float], Sequence[Streams]]]:
    """Each window of each stream of each clip, and the clips without it."""
    for k, streams in enumerate(clips):
        for name, item in streams.items():
            if item.tokens_SD is None or not bool(item.mask_S.any()):
                continue
            end_s, at = float(item.times_S[item.mask_S].max()), 0
            while at * width_s <= end_s:
                start, stop = at * width_s, (at + 1) * width_s
                changed = occluded(item, start, stop)
                if changed is not None:
                    yield (k, name, start, stop), [*clips[:k], {**streams, name: changed}, *clips[k + 1 :]]
                at += 1


def _replaced(clips: Sequence[Streams], change: Callable[[str, StreamItem], StreamItem | None]) -> Sequence[Streams]:
    """The clips with some streams changed; None leaves one as it is."""
    return [{n: change(n, item) or item for n, item in streams.items()} for streams in clips]


def _claims(asked: Any, answer: EmotionAnswer, told: Callable[[list[Sequence[Streams]]], list[float]], base: float) -> tuple[Claim, ...]:
    """The evidence of an answer, each piece's window occluded in all streams of its kind."""
    variants = []
    for piece in answer.evidence:
        kinds = _OF_EVIDENCE.get(str(piece["stream"]), (str(piece["stream"]),))

        def change(name: str, item: StreamItem, piece: Any = piece, kinds: tuple[str, ...] = kinds) -> StreamItem | None:
            mine = asked.modality.get(name) in kinds
            return occluded(item, float(piece["start_s"]), float(piece["end_s"])) if mine else None

        variants.append(_replaced(asked.clips, change))
    out = []
    for piece, probability in zip(answer.evidence, told(variants) if variants else [], strict=True):
        drop, span = base - probability, (float(piece["start_s"]), float(piece["end_s"]))
        said = {"stream": str(piece["stream"]), "text": str(piece["text"])}
        out.append(Claim(**said, start_s=span[0], end_s=span[1], drop=drop, supported=drop > _LEAST))
    return tuple(out)
