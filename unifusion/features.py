"""The content-addressed store of frozen-encoder outputs: encoded once, read by training, evaluation and chat.

A key is the sha256 of (media bytes and span, encoder weights, preprocessing choices). Features lie in bf16 shards that are memory-mapped;
an index file per shard is written last, so a killed run loses at most the shard it was writing and never leaves a wrong one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unifusion.conversation import Clip, Media, Mix, Take
from unifusion.encoders.encoder import weights_hash
from unifusion.errors import DatasetError, MediaError
from unifusion.processor import OpenedMedia, Row, StreamItem, UniFusionProcessor

__all__ = ["FeatureStore", "StoredOpener", "encode_all", "media_key"]

_SHARD_ITEMS = 512


def media_key(media: Media) -> str:
    """Content of one span as a hash: file bytes (not the name), bytes, arrays or a clip-world reference, with start, end and mutes."""
    digest = hashlib.sha256()
    source = media.source
    if isinstance(source, Clip):
        for array in (source.frames_THWC, source.frame_times_s, source.waveform_N):
            if array is not None:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
        said = [source.transcript] if source.transcript else []
        told = [source.sampling_rate_hz, source.waveform_start_s, source.duration_s, source.start_s, *said]
        digest.update(json.dumps(told).encode())
    elif isinstance(source, bytes):
        digest.update(source)
    elif isinstance(source, Mix):
        parts = [media_key(m) if m is not None else "" for m in (source.still, source.voice, source.background)]
        mixed = ["mix", *parts, source.snr_db, source.size_px, source.seed, *([asdict(source.take)] if source.take != Take() else [])]
        digest.update(json.dumps(mixed).encode())
    elif str(source).startswith("clip-world://"):
        digest.update(str(source).encode())
    else:
        try:
            with Path(source).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise MediaError(f"{source}: {error.strerror};", remedy="check the path.") from error
    level = [] if media.at_least_db is None else [media.at_least_db]
    said = [media.transcript] if media.transcript else []
    digest.update(json.dumps([media.kind, media.start_s, media.end_s, sorted(media.mute), *level, *said]).encode())
    return digest.hexdigest()


def encoder_key(processor: UniFusionProcessor, model: Any, stream: str) -> str:
    """Hash of one stream's encoder: its weights, every preprocessing choice, and which preprocessing it is."""
    spec = processor.specs[stream]
    choices = json.dumps(asdict(spec.encoder_choices), sort_keys=True)
    limits = json.dumps([processor.max_seconds, processor.opener.strict, spec.encoder_class.preprocessing])
    return hashlib.sha256(f"{weights_hash(model.encoders[stream])}{choices}{limits}".encode()).hexdigest()


class FeatureStore:
    """Append-only shards of one stream's features in a folder.

    Args:
        folder: made when it is missing.

    Each item is (S, D) bf16 with times (S,) and mask (S,), and a small JSON record.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, tuple[str, int]] = {}
        self._maps: dict[str, Any] = {}
        self._index: dict[str, dict[str, Any]] = {}
        self._pending: dict[str, tuple[np.ndarray, dict[str, Any]]] = {}
        for path in sorted(self.folder.glob("*.json")):
            self._adopt(path)

    def _adopt(self, path: Path) -> None:
        """Take a finished shard into the index."""
        index = json.loads(path.read_text(encoding="utf-8"))
        data = path.with_suffix(".bf16")
        found, wanted = data.stat().st_size if data.is_file() else 0, 2 * int(index["offsets"][-1])
        if found != wanted:
            raise DatasetError(
                f"{data} has {found} bytes, its index says {wanted};", remedy="remove this shard and its .json; it is made again."
            )
        self._index[path.stem] = index
        self._where.update({key: (path.stem, i) for i, key in enumerate(index["keys"])})

    def __len__(self) -> int:
        """Items that can be read."""
        return len(self._where) + len(self._pending)

    def __contains__(self, key: str) -> bool:
        """Whether `key` is stored."""
        return key in self._where or key in self._pending

    def put(self, key: str, tokens_SD: torch.Tensor, record: dict[str, Any]) -> None:
        """Add one item; a full shard is written out. `record` is JSON: times, mask and what the report says."""
        if key not in self:
            bits = tokens_SD.detach().to(torch.bfloat16).cpu().contiguous().view(torch.int16).numpy()
            self._pending[key] = (bits, record)
            if len(self._pending) >= _SHARD_ITEMS:
                self.flush()

    def flush(self) -> None:
        """Write what is pending as a shard: data first, synced, then its index under a temporary name, then the rename."""
        if not self._pending:
            return
        keys = list(self._pending)
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:24]
        data = self.folder / f"{name}.bf16"
        shapes = [self._pending[k][0].shape for k in keys]
        # Never in place: another run may have made the same shard and be reading it.
        part = self.folder / f".{name}.{os.getpid()}.part"
        with part.open("wb") as file:
            for key in keys:
                file.write(self._pending[key][0].tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, data)
        sizes = [rows * width for rows, width in shapes]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).tolist()
        index = {"keys": keys, "shapes": shapes, "offsets": offsets, "records": [self._pending[k][1] for k in keys]}
        work = self.folder / f".{name}.{os.getpid()}.tmp"
        with work.open("w", encoding="utf-8") as text:
            text.write(json.dumps(index))
            text.flush()
            os.fsync(text.fileno())
        os.replace(work, self.folder / f"{name}.json")
        self._pending = {}
        self._adopt(self.folder / f"{name}.json")

    def get(self, key: str) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return tokens (S, D) in bf16, mapped from disk, and the record.

        Raises:
            DatasetError: the key is not stored.
        """
        if key in self._pending:
            bits, record = self._pending[key]
            return torch.from_numpy(bits.copy()).view(torch.bfloat16), record
        if key not in self._where:
            raise DatasetError(f"no features {key[:12]}.. in {self.folder};", remedy="encode the data first (`unifusion train` does it).")
        shard, i = self._where[key]
        index = self._index[shard]
        begin, end = index["offsets"][i], index["offsets"][i + 1]
        if begin == end:  # an absent stream; a file of nothing else cannot be mapped
            return torch.zeros(index["shapes"][i], dtype=torch.bfloat16), index["records"][i]
        if shard not in self._maps:
            self._maps[shard] = np.memmap(self.folder / f"{shard}.bf16", dtype=np.int16, mode="r")
        bits = np.array(self._maps[shard][begin:end]).reshape(index["shapes"][i])
        return torch.from_numpy(bits).view(torch.bfloat16), index["records"][i]


class StoredOpener:
    """Opens clips from feature stores instead of decoding them; takes the opener's place in a processor.

    Args:
        processor: its streams and their adapters' layout.
        stores: stream name -> store.
        keys: stream name -> encoder key.
    """

    def __init__(self, processor: UniFusionProcessor, stores: dict[str, FeatureStore], keys: dict[str, str]) -> None:
        self._processor = processor
        self.specs = processor.specs
        self.stores, self.keys = stores, keys

    def key(self, media: Media, stream: str) -> str:
        """The store key of one span for one stream (mutes are applied when reading, not stored)."""
        return hashlib.sha256(f"{media_key(replace(media, mute=()))}{self.keys[stream]}".encode()).hexdigest()

    def again(self) -> StoredOpener:
        """The same stores read anew from disk, with what other processes have put there since."""
        stores = {name: FeatureStore(store.folder) for name, store in self.stores.items()}
        return StoredOpener(self._processor, stores, self.keys)

    def open(self, media: Media) -> OpenedMedia:
        """The clip as the processor wants it, with features instead of pictures and sound.

        Raises:
            DatasetError: it was never encoded.
        """
        from unifusion.batch import StreamReport

        streams: dict[str, StreamItem] = {}
        reports: dict[str, StreamReport] = {}
        duration_s, notes = 0.0, ()
        for name, spec in self.specs.items():
            tokens, record = self.stores[name].get(self.key(media, name))
            report = StreamReport(**record["report"])
            duration_s, notes = record["duration_s"], tuple(record["notes"])
            if spec.modality in media.mute:
                reports[name] = StreamReport(modality=spec.modality, present=False, reason="muted on request")
                continue
            if not report.present:
                reports[name] = report
                continue
            times = torch.tensor(record["times"], dtype=torch.float32).repeat_interleave(record["repeat"])
            mask = torch.tensor(record["mask"], dtype=torch.bool).repeat_interleave(record["repeat"])
            placed = spec.adapter_class.token_times(spec.adapter_choices, times, mask)
            streams[name] = StreamItem(
                times_S=times, mask_S=mask, token_times_Q=placed, tokens_SD=tokens, windowed=spec.adapter_class.windowed
            )
            reports[name] = replace(report, tokens=len(placed))
        return OpenedMedia(media=media, streams=streams, reports=reports, duration_s=duration_s, notes=notes)


def stored_opener(processor: UniFusionProcessor, model: Any, folder: str | Path) -> StoredOpener:
    """The stores of a model's streams below `folder`, one folder per encoder key."""
    keys = {name: encoder_key(processor, model, name) for name in processor.specs}
    stores = {name: FeatureStore(Path(folder) / f"{name}-{key[:16]}") for name, key in keys.items()}
    return StoredOpener(processor, stores, keys)


@torch.no_grad()
def encode_all(
    model: Any, processor: UniFusionProcessor, media: Sequence[Media], opener: StoredOpener, *, batch_size: int = 8,
    progress: Callable[[Iterator[int]], Iterator[int]] = lambda steps: steps,
) -> int:  # fmt: skip
    """Encode what is not stored yet, by the encoders that have not seen it; returns how many clips. Safe to run again after a kill.

    Args:
        model: frozen encoders, in eval mode.
        processor: opens the clips (its own opener decodes).
        media: spans; duplicates cost nothing.
        opener: the stores to fill.
        progress: wraps the steps in a bar.
    """
    todo = [m for m in dict.fromkeys(media) if any(opener.key(m, n) not in s for n, s in opener.stores.items())]
    try:
        for start in progress(iter(range(0, len(todo), batch_size))):
            clips = [processor.opener.open(replace(m, mute=())) for m in todo[start : start + batch_size]]
            batch = processor.collate([Row(media=[clip]) for clip in clips]).to(model.device)["media"]
            for name, store in opener.stores.items():
                if all(opener.key(m, name) in store for m in todo[start : start + batch_size]):
                    continue
                tokens = iter(model.features(name, batch[name]).tokens_BSD) if name in batch else iter(())
                for clip, item in zip(clips, todo[start : start + batch_size], strict=True):
                    _put(store, opener.key(item, name), clip, name, tokens)
    finally:  # what was encoded before a bad clip is kept
        for store in opener.stores.values():
            store.flush()
    return len(todo)


def _put(store: FeatureStore, key: str, clip: OpenedMedia, stream: str, tokens: Iterator[torch.Tensor]) -> None:
    """Store one stream of one clip; an absent stream is stored as absent."""
    told = {"report": asdict(clip.reports[stream]), "duration_s": clip.duration_s, "notes": list(clip.notes)}
    if stream not in clip.streams:
        store.put(key, torch.zeros(0, 1), {**told, "times": [], "mask": [], "repeat": 1})
        return
    item = clip.streams[stream]
    repeat = _repeat(item.times_S, item.mask_S)
    record = {**told, "times": item.times_S[::repeat].tolist(), "mask": item.mask_S[::repeat].tolist(), "repeat": repeat}
    store.put(key, next(tokens)[: len(item.times_S)], record)


def _repeat(times_S: torch.Tensor, mask_S: torch.Tensor) -> int:
    """Longest run length by which times and mask repeat (all patches of a tubelet share one time)."""
    changes = torch.nonzero((times_S[1:] != times_S[:-1]) | (mask_S[1:] != mask_S[:-1]))[:, 0] + 1
    run = int(changes[0]) if len(changes) else len(times_S)
    whole = len(times_S) % run == 0 and bool((changes % run == 0).all())
    return run if whole else 1
