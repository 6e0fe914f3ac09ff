"""Rows in memory: what frozen encoders and adapters gave of each, so that only what is trained is computed in a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from tqdm.auto import tqdm

from unifusion.conversation import Example, Media
from unifusion.models.aligner import Aligner
from unifusion.models.opened_rows import OpenedRow, RowOpener, collate_rows, to_device
from unifusion.processor import StreamItem

__all__ = ["Kept", "RowKey", "row_key", "unsaid"]

RowKey = tuple[str, tuple[Media, ...]]
"""What tells rows of all sets apart: ids are unique within a set alone, so their clips count as well, arrays by being the same ones."""


def row_key(example: Example) -> RowKey:
    """The key of a row."""
    return example.id, example.media


def unsaid(example: Example) -> Example:
    """A row without its words: what is said would be told by the words themselves; the clip is to be heard."""
    return replace(example, texts={k: v for k, v in example.texts.items() if k != "transcript"})


class Kept:
    """Opens rows once, and keeps them in float16.

    Of a stream whose encoder is frozen its tokens are kept; where its adapter is frozen as well, and no clock reads the tokens, those of
    the adapter. A stream whose encoder is trained is opened each time.

    Args:
        model: encodes and adapts.
        opener: opens what is not kept yet.
    """

    def __init__(self, model: Aligner, opener: RowOpener) -> None:
        self.model, self.inner, self.streams = model, opener, opener.streams
        self.rows: dict[RowKey, OpenedRow] = {}
        self.adapted = {
            n for n in model.adapters if n in self.streams and not (model.config.streams[n].adapt or model.config.streams[n].clock)
        }

    def fill(self, examples: Sequence[Example], *, batch_size: int = 16) -> None:
        """Keep rows before they are asked for.

        Raises:
            MediaError: a clip cannot be read.
        """
        todo = list({row_key(e): e for e in examples if row_key(e) not in self.rows}.values())
        for first in tqdm(range(0, len(todo), batch_size), desc="keep", disable=None):
            some = todo[first : first + batch_size]
            for example, row in zip(some, self._reduced([self.inner.open(unsaid(e)) for e in some]), strict=True):
                self.rows[row_key(example)] = row

    def open(self, example: Example) -> OpenedRow:
        """A row; what is trained of it is opened anew."""
        key = row_key(example)
        if key not in self.rows:
            self.fill([example])
        row = self.rows[key]
        if not any(n in self.model.live for n in row.streams):
            return row
        live = self.inner.open(example).streams
        return replace(row, streams={n: live[n] if n in self.model.live else item for n, item in row.streams.items()})

    @torch.no_grad()
    def _reduced(self, rows: Sequence[OpenedRow]) -> list[OpenedRow]:
        """Rows as they are kept."""
        frozen = [n for n in self.streams if n not in self.model.live]
        batch = to_device(collate_rows(rows, frozen), self.model.device)
        streams: list[dict[str, StreamItem]] = [dict(row.streams) for row in rows]
        mode = self.model.training
        self.model.eval()
        for name, part in batch["streams"].items():
            found = self.model.features(name, part)
            found = self.model.adapters[name](found) if name in self.adapted else found
            for k, at in enumerate(part["rows"].tolist()):
                mask_S = found.mask_BS[k].cpu()
                streams[at][name] = replace(
                    streams[at][name], tensors={}, tokens_SD=found.tokens_BSD[k].cpu()[mask_S].half(),
                    times_S=found.times_BS[k].cpu()[mask_S], mask_S=mask_S[mask_S],
                )  # fmt: skip
        self.model.train(mode)
        return [
            replace(row, streams={n: item if n not in self.model.live else _named(item) for n, item in own.items()})
            for row, own in zip(rows, streams, strict=True)
        ]


def _named(item: StreamItem) -> StreamItem:
    """A stream that is there and whose content is not kept."""
    return replace(item, tensors={})
