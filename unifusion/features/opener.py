"""Clips opened from feature stores: neither decoded nor encoded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion.batch import StreamReport
from unifusion.conversation import Media
from unifusion.errors import DatasetError, NoStreamError
from unifusion.features.keys import encoder_keys, item_key, media_key
from unifusion.features.shard import Item
from unifusion.features.store import FeatureStore
from unifusion.limits import Limits
from unifusion.processor import OpenedMedia, StreamItem, StreamSpec, UniFusionProcessor

__all__ = ["StoredOpener", "store_folder", "stored_opener"]


class StoredOpener:
    """Opens clips from feature stores instead of decoding them; takes the opener's place in a processor.

    Args:
        specs: the streams and their adapters' layout.
        stores: stream name -> store.
        keys: stream name -> encoder key.
        otherwise: opens what is not stored; None refuses it.
        limits: of files that are read for their key.
    """

    def __init__(
        self, specs: Mapping[str, StreamSpec], stores: Mapping[str, FeatureStore], keys: Mapping[str, str], *,
        otherwise: Callable[[Media], OpenedMedia] | None = None, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.specs = dict(specs)
        self.stores, self.keys = dict(stores), dict(keys)
        self.otherwise = otherwise
        self.limits = limits or Limits()

    def item_keys(self, media: Media) -> dict[str, str]:
        """Stream -> the store key of one span; mutes are applied when reading, not stored.

        Raises:
            MediaError: its file cannot be read.
        """
        return self.keys_of(self.content(media))

    def content(self, media: Media) -> str:
        """The hash of what a span holds, whatever encodes it; its words count where a stream reads them.

        Raises:
            MediaError: its file cannot be read.
        """
        reads = any(spec.modality == "text" for spec in self.specs.values())
        bare = media if reads else replace(media, transcript=None, subtitles=())
        return media_key(replace(bare, mute=()), self.limits)

    def keys_of(self, content: str) -> dict[str, str]:
        """Stream -> the store key of a content."""
        return {name: item_key(content, key) for name, key in self.keys.items()}

    def key(self, media: Media, stream: str) -> str:
        """The store key of one span for one stream."""
        return self.item_keys(media)[stream]

    def missing(self, keys: Mapping[str, str]) -> list[str]:
        """Streams whose store lacks its key of `item_keys`."""
        return [name for name, key in keys.items() if key not in self.stores[name]]

    def again(self) -> StoredOpener:
        """The same stores with what other processes have put there since."""
        for store in self.stores.values():
            store.refresh()
        return self

    def open(self, media: Media) -> OpenedMedia:
        """The clip as the processor wants it, with features instead of pictures and sound.

        Raises:
            DatasetError: it was never encoded, and nothing else opens it.
            MediaError: no stream can use it.
        """
        keys = self.item_keys(media)
        missing = self.missing(keys)
        if missing and self.otherwise is not None:
            return self.otherwise(media)
        if missing:
            raise DatasetError(
                f"{media.name}: no features of stream {missing[0]!r} in {self.stores[missing[0]].folder};",
                remedy="encode the data first with `unifusion encode`.",
            )
        streams: dict[str, StreamItem] = {}
        reports: dict[str, StreamReport] = {}
        found = {name: self.stores[name].get(keys[name]) for name in self.specs}
        for name, item in found.items():
            stream, reports[name] = self._stream(self.specs[name], item, media)
            if stream is not None:
                streams[name] = stream
        duration_s = max((item.record["duration_s"] for item in found.values()), default=0.0)
        if not streams and not media.mute and not media.lines(duration_s):
            told = "; ".join(f"{n}: {r.reason}" for n, r in reports.items())
            raise NoStreamError(
                f"{media.name}: no stream of the model can use this file ({told});", remedy="give a clip with picture or sound."
            )
        # A store that was filled one stream at a time holds each stream's own notes.
        notes = dict.fromkeys(note for item in found.values() for note in item.record["notes"])
        return OpenedMedia(media=media, streams=streams, reports=reports, duration_s=duration_s, notes=tuple(notes))

    def _stream(self, spec: StreamSpec, item: Item, media: Media) -> tuple[StreamItem | None, StreamReport]:
        """One stream with its adapter's layout, or None where it is absent, and what is told of it."""
        report = StreamReport(**item.record["report"])
        if spec.modality in media.mute:
            return None, StreamReport(modality=spec.modality, present=False, reason="muted on request")
        if not report.present:
            return None, report
        placed = spec.adapter_class.token_times(spec.adapter_choices, item.times_S, item.mask_S)
        stream = StreamItem(
            times_S=item.times_S, mask_S=item.mask_S, token_times_Q=placed, tokens_SD=item.tokens_SD, windowed=spec.adapter_class.windowed
        )
        return stream, replace(report, tokens=len(placed))


def stored_opener(
    processor: UniFusionProcessor, model: Any, folder: str | Path, *, streams: tuple[str, ...] = (),
    otherwise: Callable[[Media], OpenedMedia] | None = None,
) -> StoredOpener:  # fmt: skip
    """The stores of a model's streams below `folder`, one folder per encoder key.

    Args:
        processor: its streams, and how its opener decodes.
        model: its encoders.
        folder: of the store.
        streams: some of them; all when empty.
        otherwise: opens what is not stored.
    """
    stores, keys = {}, {}
    for name in streams or processor.specs:
        keys[name], where = store_folder(
            Path(folder), name, *encoder_keys(processor.specs[name], model.encoders[name], processor.max_seconds, processor.opener.strict)
        )
        stores[name] = FeatureStore(where)
    specs = {name: processor.specs[name] for name in keys}
    return StoredOpener(specs, stores, keys, otherwise=otherwise, limits=processor.limits)


def store_folder(folder: Path, stream: str, key: str, earlier: str) -> tuple[str, Path]:
    """The key and the folder of one stream; a store under the key that earlier versions gave is gone on with."""
    new, old = folder / f"{stream}-{key[:16]}", folder / f"{stream}-{earlier[:16]}"
    return (earlier, old) if old.is_dir() and not new.is_dir() else (key, new)
