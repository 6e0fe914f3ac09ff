"""Encoder inputs on disk: what an encoder that is trained takes of a clip, decoded and prepared once instead of in every epoch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unifusion.batch import StreamReport
from unifusion.conversation import Media
from unifusion.features import media_key
from unifusion.processor import MediaOpener, OpenedMedia, StreamItem

__all__ = ["PreparedOpener"]

_PICTURES = 256 * 256
"""Numbers from which an input is kept in steps of 1/255 of its range, as bytes of pictures are; shorter ones in float32."""


class PreparedOpener:
    """Opens clips through an opener and keeps what its streams gave in a folder; the same clip is then read instead.

    Pictures are kept in 256 steps between their darkest and brightest value, a quarter of their size in float32; what is opened for the
    first time is given in these steps too, so that every epoch sees the same.

    Args:
        inner: opens what is not there yet.
        folder: of the files, one a clip.
    """

    def __init__(self, inner: MediaOpener, folder: str | Path) -> None:
        self.inner, self.folder = inner, Path(folder)
        told = {
            n: [s.encoder, asdict(s.opening_choices), s.encoder_class.preprocessing, s.adapter, asdict(s.adapter_choices)]
            for n, s in inner.wanted.items()
        }
        choices = json.dumps([told, inner.rates, inner.max_seconds, inner.strict], sort_keys=True, default=str)
        self._choices = hashlib.sha256(choices.encode()).hexdigest()

    def path(self, media: Media) -> Path:
        """The file of a clip.

        Raises:
            MediaError: the clip cannot be read.
        """
        reads = any(s.modality == "text" for s in self.inner.wanted.values())
        bare = media if reads else replace(media, transcript=None, subtitles=())
        key = hashlib.sha256(f"{media_key(bare, self.inner.limits)}{self._choices}".encode()).hexdigest()
        return self.folder / key[:2] / f"{key}.safetensors"

    def open(self, media: Media) -> OpenedMedia:
        """The clip, prepared.

        Raises:
            MediaError: it cannot be opened.
        """
        path = self.path(media)
        if not path.is_file():
            self._write(path, self.inner.open(media))
        try:
            return self._read(path, media)
        except (SafetensorError, KeyError, ValueError):  # cut short by a crash of the machine: made anew
            self._write(path, self.inner.open(media))
            return self._read(path, media)

    def _write(self, path: Path, opened: OpenedMedia) -> None:
        """Keep a clip."""
        tensors: dict[str, Tensor] = {}
        ranges: dict[str, Any] = {}
        for name, item in opened.streams.items():
            tensors |= {f"{name}/times": item.times_S, f"{name}/mask": item.mask_S, f"{name}/token_times": item.token_times_Q}
            for key, value in item.tensors.items():
                where = f"{name}/tensors/{key}"
                if value.is_floating_point() and value.numel() >= _PICTURES:
                    low, high = float(value.min()), float(value.max())
                    ranges[where] = [low, high]
                    value = ((value - low) / max(high - low, 1e-12) * 255).round().to(torch.uint8)
                tensors[where] = value.contiguous()
        told = {
            "ranges": ranges, "reports": {n: asdict(r) for n, r in opened.reports.items()}, "duration_s": opened.duration_s,
            "notes": list(opened.notes), "windowed": {n: s.windowed for n, s in opened.streams.items()},
        }  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        work = path.with_name(f".{path.name}-{os.getpid()}.tmp")
        save_file(tensors, work, metadata={"told": json.dumps(told)})
        work.replace(path)

    def _read(self, path: Path, media: Media) -> OpenedMedia:
        """A clip that is there."""
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["told"])
            found = {key: file.get_tensor(key).clone() for key in file.keys()}  # of a map, which a writer could cut short
        streams = {name: _item(name, found, told) for name in told["windowed"]}
        reports = {n: StreamReport(**r) for n, r in told["reports"].items()}
        return OpenedMedia(media=media, streams=streams, reports=reports, duration_s=told["duration_s"], notes=tuple(told["notes"]))


def _item(name: str, found: Mapping[str, Tensor], told: Mapping[str, Any]) -> StreamItem:
    """One stream of a file."""
    tensors = {}
    for key, value in found.items():
        if key.startswith(f"{name}/tensors/"):
            if key in told["ranges"]:
                low, high = told["ranges"][key]
                value = value.float() * ((high - low) / 255) + low
            tensors[key.removeprefix(f"{name}/tensors/")] = value
    return StreamItem(
        times_S=found[f"{name}/times"], mask_S=found[f"{name}/mask"], token_times_Q=found[f"{name}/token_times"], tensors=tensors,
        windowed=told["windowed"][name],
    )  # fmt: skip
