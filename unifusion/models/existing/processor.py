"""Conversations about clips for an existing model: its own preprocessing, its own template, our readers, rows and reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from unifusion.batch import StreamReport
from unifusion.conversation import Clip, Media
from unifusion.errors import CheckpointError, MediaError
from unifusion.limits import Limits
from unifusion.models.existing.family import Family, Intake, Piece, Prepared, thinned
from unifusion.models.existing.template import Template
from unifusion.processor import Batch, Conversing, OpenedMedia, Row, StreamItem
from unifusion.processor.conversing import padded
from unifusion.processor.layout import stamped
from unifusion.processor.opening import absence, at_rate, at_sampling_rate, decode, raised
from unifusion.processor.text import TextEncoder

__all__ = ["ExistingOpener", "ExistingProcessor"]

_STREAMS = {"video": "pictures", "audio": "sound"}
_FOR_PICTURES = 0.75
"""Share of the context that one clip's pictures may fill."""


class ExistingOpener:
    """Opens clips for an existing model: decoded by our readers, prepared as the model was published.

    Args:
        family: the model's, or what else takes clips.
        context: tokens that the model takes.
    """

    def __init__(self, family: Intake, context: int) -> None:
        self.family = family
        self.context = context
        self.limits = Limits()
        self.isolate = False
        self.strict = True

    @property
    def rates(self) -> tuple[float | None, int | None]:
        """Frames and samples a second that are decoded for the model; None where it takes none."""
        family = self.family
        return family.rate_hz if "video" in family.takes else None, family.sampling_rate_hz if "audio" in family.takes else None

    @property
    def max_seconds(self) -> float:
        """The longest span shown."""
        return min(self.family.max_seconds, self.limits.max_span_seconds)

    def open(self, media: Media) -> OpenedMedia:
        """Decode the span of `media` and prepare each stream that the model takes; the others are reported absent.

        Raises:
            MediaError: the file cannot be decoded, or holds nothing that the model takes.
        """
        lacking = {name: what for name, what in _STREAMS.items() if name not in self.family.takes}
        reports = {n: StreamReport(modality=n, present=False, reason=f"this model has no input for {w}") for n, w in lacking.items()}
        clip, cropped_s = self._decode(media)
        streams: dict[str, StreamItem] = {}
        notes = [*clip.notes]
        for name in self.family.takes:
            reason = absence(name, media, clip)
            try:
                if reason:
                    raise MediaError(reason)
                prepared = self._prepared(name, media, clip)
            except MediaError as error:  # a few milliseconds of sound beside a good picture
                reports[name] = StreamReport(modality=name, present=False, reason=error.found.rstrip(";"))
                continue
            streams[name] = prepared.item()
            reports[name] = StreamReport(
                modality=name, present=True, seconds=round(prepared.seconds, 3), frames=prepared.frames, samples=prepared.samples,
                tokens=prepared.tokens, cropped_s=round(cropped_s, 3), reason=_cropped(clip, cropped_s),
            )  # fmt: skip
            notes += prepared.notes
        if media.transcript:
            reports["text"] = StreamReport(modality="text", present=False, reason="this model has no input for a transcript")
        if not streams and not media.mute:
            found = "; ".join(f"{n}: {r.reason}" for n, r in reports.items())
            wanted = " or ".join(_STREAMS[n] for n in self.family.takes)
            raise MediaError(f"{media.name}: the model cannot use this file ({found});", remedy=f"give a clip with {wanted}.")
        ordered = {name: reports[name] for name in (*_STREAMS, "text") if name in reports}
        return OpenedMedia(media=media, streams=streams, reports=ordered, duration_s=clip.duration_s, notes=tuple(notes))

    def _decode(self, media: Media) -> tuple[Clip, float]:
        """Decode what the model takes of a span; also the seconds left out."""
        wanted = set(self.family.takes) - set(media.mute)
        pictures, sound = "video" in wanted and media.kind != "audio", "audio" in wanted and media.kind != "image"
        if not pictures and not sound:
            return Clip(), 0.0
        clip, cropped_s = decode(
            media, rate_hz=self.family.rate_hz if pictures else None, audio=sound, limits=self.limits, isolate=self.isolate,
            max_seconds=self.max_seconds, strict=self.strict,
            sampling_rate_hz=self.family.sampling_rate_hz,
        )  # fmt: skip
        clip = at_sampling_rate(at_rate(raised(clip, media.at_least_db), self.family.rate_hz), self.family.sampling_rate_hz)
        return thinned(clip, self.family.max_frames), cropped_s

    def _prepared(self, name: str, media: Media, clip: Clip) -> Prepared:
        """One stream as the model takes it."""
        if name == "audio":
            return self.family.sound(clip)
        room = int(min(self.context, self.limits.max_tokens) * _FOR_PICTURES)
        return self.family.picture(clip, still=media.kind == "image", most_tokens=room)


def _cropped(clip: Clip, cropped_s: float) -> str:
    """What the report says of a span that was too long."""
    return f"only the first {clip.duration_s:.1f} s are shown to the model; choose a span with start and end" if cropped_s > 1e-3 else ""


class ExistingProcessor(Conversing):
    """Writes conversations for an existing model. What a user types can never become one of its control or media tokens.

    Args:
        tokenizer: with the model's chat template.
        family: how the model takes clips.
        context: tokens that the model takes.

    Raises:
        CheckpointError: the template shows no clips.
    """

    def __init__(self, tokenizer: Any, family: Family, *, context: int) -> None:
        self.tokenizer = tokenizer
        self.family = family
        self.placeholder_ids = family.placeholders
        names = {kind: str(tokenizer.convert_ids_to_tokens(id)) for kind, id in self.placeholder_ids.items()}
        self.template = Template(tokenizer, names)
        self.format = self.template.format
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.text = TextEncoder(tokenizer, names.values())
        self.opener = ExistingOpener(family, context)
        self.limits = self.opener.limits

    def add_media(self, row: Row, clip: OpenedMedia, number: int | None) -> None:
        """Append the tokens of one clip, and where they stand."""
        if number is not None:
            row.add(self.text.control(f"clip {number}: "))
        pieces = self._pieces(row, len(row.starts))
        row.starts.append(len(row.ids))
        for ids in self._ids(pieces):
            row.add(ids)
        for line in clip.shown_lines:  # behind the clip: within it, places and numbers of tokens are the family's own
            row.add(self.text.user(stamped(line).text))

    def _ids(self, pieces: Sequence[Piece]) -> list[list[int]]:
        """Each piece as ids; texts that follow each other are tokenised apart, at the control tokens between them."""
        return [self.text.control(p.text) if p.text else [self.placeholder_ids[kind] for kind in p.tokens] for p in pieces]

    def _pieces(self, row: Row, n: int) -> list[Piece]:
        """The tokens of a row's n-th clip."""
        before = [kind for clip in row.media[:n] for kind in _kinds(clip)]
        wraps = {kind: self.template.wrap(kind, 1 + before.count(kind)) for kind in _kinds(row.media[n])}
        return self.family.lay_out(row.media[n], wraps)

    def _places(self, row: Row, n: int) -> tuple[Tensor, float]:
        """Time, row and column (3, n) of the tokens of a row's n-th clip, from the first free position; and where text goes on."""
        pieces = self._pieces(row, n)
        out, free = [torch.zeros(3, 0)], 0.0
        for piece, ids in zip(pieces, self._ids(pieces), strict=True):
            at = piece.at if piece.at is not None else torch.arange(len(ids)).float().expand(3, -1)
            if at.shape[1] != len(ids):
                raise CheckpointError(
                    f"the model's tokenizer makes {len(ids)} tokens of the mark {piece.text!r};",
                    remedy="copy tokenizer and chat template again.",
                )
            out.append(at + free)
            free = max(free, float(out[-1].max()) + 1.0) if piece.ends is None else free + piece.ends
        return torch.cat(out, 1), free

    def positions(self, row: Row) -> Tensor:
        """Time, row and column (3, S) of every token: text counts on from the highest position before it, in most families."""
        out, free, done = [torch.zeros(3, 0)], 0.0, 0
        for n, start in enumerate([*row.starts, len(row.ids)]):
            out.append(torch.arange(start - done).float().expand(3, -1) + free)
            free, done = free + start - done, start
            if n < len(row.starts) and row.media[n].streams:
                places, ends = self._places(row, n)
                out.append(places + free)
                free, done = free + ends, start + places.shape[1]
        return torch.cat(out, 1)

    def collate(self, rows: Sequence[Row], *, side: Literal["left", "right"] = "right", start: int = 0) -> Batch:
        """Pad rows, from position `start` on, into one batch.

        `media` has, per kind of placeholder, its features (n, D) in the order of the rows, and their layers (n, L, D) under `deep`;
        `position_ids` is (3, B, S) for a model whose positions are three.
        """
        parts = [row.since(start) for row in rows] if start else list(rows)
        found = padded(parts, int(self.tokenizer.pad_token_id), side)
        found.pop("labels")
        data: dict[str, Any] = {**found, "media": _media(parts)}
        if self.family.tripled:
            data["position_ids"] = torch.zeros(3, *found["input_ids"].shape)
            for n, row in enumerate(rows):
                data["position_ids"][:, n, found["attention_mask"][n].bool()] = self.positions(row)[:, start:]
        batch = Batch(data)
        batch.reports = [row.report for row in rows]
        return batch


def _kinds(clip: OpenedMedia) -> list[str]:
    """Kinds of placeholders that a clip takes."""
    return ["image" if name == "video" and clip.media.kind == "image" else name for name in clip.streams]


def _media(rows: Sequence[Row]) -> dict[str, dict[str, Tensor]]:
    """Features of all clips by kind."""
    out: dict[str, dict[str, list[Tensor]]] = {}
    for clip in (clip for row in rows for clip in row.media):
        for kind, item in zip(_kinds(clip), clip.streams.values(), strict=True):
            if item.tokens_SD is None:
                raise MediaError(f"{clip.media.name} was not encoded;", remedy="open it with Engine.open.")
            own = out.setdefault(kind, {"tokens": [], "deep": []})
            own["tokens"].append(item.tokens_SD)
            own["deep"] += [item.tensors["deep"]] if "deep" in item.tensors else []
    return {kind: {key: torch.cat(parts) for key, parts in own.items() if parts} for kind, own in out.items()}
