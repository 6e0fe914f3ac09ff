"""Rows of a model over encoders: what each stream is given of an example, from files or stored features; many rows as a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from unifusion.batch import ModalityReport, StreamReport, WordsReport
from unifusion.conversation import Clip, Example, Media
from unifusion.errors import DatasetError, NoStreamError
from unifusion.features import StoredOpener
from unifusion.features.source import Encoders
from unifusion.limits import Limits
from unifusion.models.encoded import EncodedModel
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.processor import MediaOpener, OpenedMedia, StreamItem
from unifusion.processor.processor import Row, collate_media

__all__ = [
    "OpenedRow", "RowOpener", "collate_rows", "encoders_of", "history_text", "media_of", "to_device", "without_padding", "words_media",
]  # fmt: skip

_WORDS_PER_S = 2.5
_TURNS = 12
"""Of what was said before; the text encoder takes the last of their words."""


class _Opens(Protocol):
    """What opens clips."""

    def open(self, media: Media) -> OpenedMedia:
        """Open one."""


@dataclass(frozen=True, kw_only=True)
class OpenedRow:
    """One example as the encoders, or the stores, have it.

    Attributes:
        id: of the example.
        streams: those that are there.
        reports: of every stream.
        metadata: of the example.
        notes: what a person should know.
        duration_s: of its longest clip.
    """

    id: str
    streams: dict[str, StreamItem]
    reports: dict[str, StreamReport]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    duration_s: float = 0.0
    words: tuple[WordsReport, ...] = ()

    def without(self, streams: Sequence[str]) -> OpenedRow:
        """The same row with some streams left out on purpose."""
        muted = {n: replace(r, present=False, reason="muted on request") if n in streams else r for n, r in self.reports.items()}
        return replace(self, streams={n: s for n, s in self.streams.items() if n not in streams}, reports=muted)

    @property
    def report(self) -> ModalityReport:
        """Which streams were there."""
        return ModalityReport(streams=dict(self.reports), notes=list(self.notes), words=list(self.words))


def media_of(example: Example) -> tuple[Media, ...]:
    """The clips of a row, the first of them with its transcript; a row of words alone is a clip of nothing but words."""
    said = example.texts.get("transcript") or None
    if example.media:
        first = example.media[0]
        return (replace(first, transcript=first.transcript or said), *example.media[1:])
    return (words_media(said),) if said else ()


def history_text(example: Example) -> str:
    """What was said before a row, a line a turn, the newest last; "" where nothing was."""
    turns = list(example.labels.get("history") or ())[-_TURNS:]
    return "\n".join(f"{turn.get('speaker', '')}: {turn.get('text', '')}".lstrip(": ") for turn in turns)


def words_media(text: str) -> Media:
    """A clip of words alone, as long as they take to say."""
    return Media(kind="audio", source=Clip(transcript=text, duration_s=len(text.split()) / _WORDS_PER_S))


def encoders_of(model: EncodedModel, reads: str, *, only: Sequence[str], isolate: bool = False, strict: bool = True) -> Encoders | None:
    """Some of a model's encoders that read the same of a row, as what fills and opens stores; None where there are none.

    Args:
        model: the model.
        reads: clip or history.
        only: streams that are wanted.
        isolate: decode in a killable child process.
        strict: a damaged frame is an error.
    """
    specs = {n: s.spec for n, s in model.streams.items() if s.reads == reads}
    wanted = [n for n in specs if n in only]
    if not wanted:
        return None
    opener = MediaOpener(specs, limits=Limits(), max_seconds=model.max_seconds, isolate=isolate, strict=strict, only=wanted)
    training = {n: (e.training, [p.requires_grad for p in e.parameters()]) for n, e in model.encoders.items()}
    held = Encoders({n: model.encoders[n] for n in wanted}, specs, opener)  # which freezes them
    for name, (mode, free) in training.items():
        model.encoders[name].train(mode)
        for parameter, on in zip(model.encoders[name].parameters(), free, strict=True):
            parameter.requires_grad_(on)
    return held


class RowOpener:
    """Opens examples for a model over encoders: streams of frozen encoders from stores where there are any, the others from files.

    Args:
        model: its streams.
        stores: folder of features; None opens everything from files.
        isolate: decode in a killable child process.
        strict: a damaged frame is an error.
        only: streams that are opened; all when empty.
        opening: wraps what opens clips for encoders that are trained, such as to change them a little.
    """

    def __init__(
        self, model: EncodedModel, *, stores: str | Path | None = None, isolate: bool = False, strict: bool = True,
        only: Sequence[str] = (), opening: Any = None,
    ) -> None:  # fmt: skip
        self.streams = {n: s for n, s in model.streams.items() if not only or n in only}
        frozen = [n for n in self.streams if n not in model.live]
        self.stored: dict[str, StoredOpener] = {}
        self._files: dict[str, _Opens] = {}
        self._openers: list[tuple[str, _Opens, tuple[str, ...]]] = []
        for reads in ("clip", "history"):
            held = encoders_of(model, reads, only=frozen, isolate=isolate, strict=strict) if stores is not None else None
            if held is not None and stores is not None:
                self.stored[reads] = held.stores(stores)
                self._files[reads] = held.opener
                self._openers.append((reads, self.stored[reads], tuple(held.encoders)))
            rest = encoders_of(model, reads, only=[n for n in self.streams if stores is None or n not in frozen],
                               isolate=isolate, strict=strict)  # fmt: skip
            if rest is not None:
                self._openers.append((reads, opening(rest.opener) if opening else rest.opener, tuple(rest.encoders)))

    @property
    def rates(self) -> tuple[float | None, int | None]:
        """Frames and samples a second that the streams of a clip take; None where none takes any."""
        specs = {n: s.spec for n, s in self.streams.items() if s.reads == "clip"}
        return MediaOpener(specs).rates

    def open(self, example: Example) -> OpenedRow:
        """Open a row.

        Raises:
            MediaError: a clip cannot be read.
            NoStreamError: nothing of the row fits any stream.
            DatasetError: its features are not stored.
        """
        streams: dict[str, StreamItem] = {}
        reports: dict[str, StreamReport] = {}
        notes: dict[str, None] = {}
        words: dict[int, WordsReport] = {}
        why: dict[str, str] = {}
        duration_s = 0.0
        told = history_text(example)
        clips = {"clip": media_of(example), "history": (words_media(told),) if told else ()}
        for reads, opener, names in self._openers:
            for number, media in enumerate(clips[reads]):
                try:
                    opened = self._opened(opener, reads, media)
                except NoStreamError as error:
                    why[reads] = error.found.rstrip(";")
                    continue
                streams |= {n: item for n, item in opened.streams.items() if n not in streams}
                reports |= {n: r for n, r in opened.reports.items() if r.present or n not in reports}
                notes |= dict.fromkeys(opened.notes)
                if opened.words is not None and (opened.words.place == "stream" or number not in words):
                    words[number] = opened.words if opened.words.place == "stream" else replace(opened.words, place="unread")
                duration_s = max(duration_s, opened.duration_s)
            for name in names:
                absent = why.get(reads, "nothing was said before" if reads == "history" else "the row has no clip and no words")
                modality = self.streams[name].spec.modality
                reports.setdefault(name, StreamReport(modality=modality, present=False, reason=absent))
        if not streams:
            found = "; ".join(dict.fromkeys(r.reason if r.reason in why.values() else f"{n}: {r.reason}" for n, r in reports.items()))
            raise NoStreamError(f"{example.id}: no stream of the model is in this row ({found});", remedy="give a clip or words.")
        ordered = {n: reports[n] for n in self.streams}
        return OpenedRow(
            id=example.id, streams=streams, reports=ordered, metadata=example.labels.get("metadata") or {}, notes=tuple(notes),
            duration_s=duration_s, words=tuple(words.values()),
        )  # fmt: skip

    def _opened(self, opener: _Opens, reads: str, media: Media) -> OpenedMedia:
        """Open a clip; of one that is not stored since it cannot be read, its file tells why."""
        try:
            return opener.open(media)
        except DatasetError:
            if opener is self.stored.get(reads):
                self._files[reads].open(media)
            raise


def collate_rows(rows: Sequence[OpenedRow], streams: Iterable[str], metadata: MetadataFields | None = None) -> dict[str, Any]:
    """Rows to a batch: `rows` B (), `streams` name -> StreamBatch of the M rows that have it, `metadata` where the model takes some."""
    opened = [Row(media=[_as_opened(row)]) for row in rows]
    batch: dict[str, Any] = {"rows": torch.tensor(len(rows)), "streams": collate_media(opened, list(streams))}
    if metadata is not None:
        batch["metadata"] = metadata.encode([row.metadata for row in rows])
    return batch


def without_padding(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A stream's batch of words without the columns that are padding in every row: texts are padded to their encoder's window, of which a
    query fills a tenth. Rows of several windows stay as they are."""
    ids_CL, real_CL = batch.get("input_ids"), batch.get("attention_mask")
    if ids_CL is None or real_CL is None or len(ids_CL) != len(batch["mask"]):
        return dict(batch)
    longest = max(int(real_CL.any(dim=0).sum()), 1)
    cut = {"input_ids": ids_CL[:, :longest], "attention_mask": real_CL[:, :longest]}
    if batch["mask"].shape[1] == ids_CL.shape[1]:
        cut |= {key: batch[key][:, :longest] for key in ("mask", "times")}
    return {**batch, **cut}


def to_device(batch: Any, device: torch.device) -> Any:
    """Tensors of nested mappings on a device."""
    if isinstance(batch, Mapping):
        return {k: to_device(v, device) for k, v in batch.items()}
    return batch.to(device) if isinstance(batch, torch.Tensor) else batch


def _as_opened(row: OpenedRow) -> OpenedMedia:
    """A row as the processor has clips."""
    return OpenedMedia(media=Media(kind="audio", source=Clip()), streams=row.streams, reports=row.reports, duration_s=row.duration_s)
