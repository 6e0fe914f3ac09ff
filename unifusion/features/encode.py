"""Encoding what is not stored yet: decode ahead, encode in batches, flush often, go on after a kill."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from unifusion.conversation import Media
from unifusion.errors import MediaError
from unifusion.features.opener import StoredOpener
from unifusion.processor import OpenedMedia, Row, UniFusionProcessor
from unifusion.processor.processor import collate_media

__all__ = ["EncodeOptions", "Encoded", "Todo", "encode_all", "encode_todo"]

Todo = tuple[Media, Mapping[str, str]]
"""A clip and its key in each stream's store."""


@dataclass(frozen=True, kw_only=True)
class EncodeOptions:
    """How it is done.

    Attributes:
        batch_size: clips that go through the encoders together.
        workers: threads that decode ahead; 0 decodes in turn.
        flush_s: seconds after which what is encoded is written, though the shard is not full.
    """

    batch_size: int = 8
    workers: int = 0
    flush_s: float = 30.0


@dataclass(kw_only=True)
class Encoded:
    """What was done: clips, seconds of them, bytes written."""

    clips: int = 0
    media_s: float = 0.0
    n_bytes: int = 0

    def add(self, other: Encoded) -> None:
        """Count what another has done as well."""
        self.clips, self.media_s, self.n_bytes = self.clips + other.clips, self.media_s + other.media_s, self.n_bytes + other.n_bytes


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
    keyed = [(m, opener.item_keys(m)) for m in dict.fromkeys(media)]
    todo = [(m, keys) for m, keys in keyed if opener.missing(keys)]
    encode_todo(model, processor.opener.open, todo, opener, EncodeOptions(batch_size=batch_size), progress=progress)
    return len(todo)


@torch.no_grad()
def encode_todo(
    model: Any, open_clip: Callable[[Media], OpenedMedia], todo: Sequence[Todo], stored: StoredOpener,
    options: EncodeOptions = EncodeOptions(),
    *, progress: Callable[[Iterator[int]], Iterator[int]] = lambda steps: steps, on_bad: Callable[[Media, MediaError], None] | None = None,
) -> Encoded:  # fmt: skip
    """Encode clips and put them into the stores; what was encoded before an error is kept.

    Args:
        model: has `features(stream, batch)` and `device`.
        open_clip: decodes and preprocesses a clip, mutes left out.
        todo: the clips, none of them stored.
        stored: the stores to fill.
        options: how.
        progress: wraps the steps, one for each batch of `todo`.
        on_bad: told of a clip that cannot be opened, which is left out if this returns; None raises.

    Raises:
        MediaError: a clip cannot be opened and nobody was to be told.
    """
    done, flushed_s = Encoded(), time.monotonic()
    before = sum(store.bytes_written for store in stored.stores.values())
    clips = _opened(open_clip, [m for m, _ in todo], options)
    try:
        for start in progress(iter(range(0, len(todo), options.batch_size))):
            some = []
            for media, keys in todo[start : start + options.batch_size]:
                clip = next(clips)
                if isinstance(clip, OpenedMedia):
                    some.append((clip, keys))
                elif on_bad is None:
                    raise clip
                else:
                    on_bad(media, clip)
            _encode(model, some, stored)
            done.clips += len(some)
            done.media_s += sum(clip.duration_s for clip, _ in some)
            if time.monotonic() - flushed_s > options.flush_s:
                _flush(stored)
                flushed_s = time.monotonic()
    finally:
        clips.close()
        _flush(stored)
        done.n_bytes = sum(store.bytes_written for store in stored.stores.values()) - before
    return done


def _flush(stored: StoredOpener) -> None:
    """Bring all streams to the disk."""
    for store in stored.stores.values():
        store.flush()


def _opened(
    open_clip: Callable[[Media], OpenedMedia], media: Sequence[Media], options: EncodeOptions
) -> Generator[OpenedMedia | MediaError]:  # fmt: skip
    """Open clips in their order, some ahead of time in threads (decoders leave Python's lock)."""

    def attempt(one: Media) -> OpenedMedia | MediaError:
        """The clip, or what is wrong with it."""
        try:
            return open_clip(replace(one, mute=()))
        except MediaError as error:
            return error

    if not options.workers:
        yield from map(attempt, media)
        return
    waiting: deque[Future[OpenedMedia | MediaError]] = deque()
    with ThreadPoolExecutor(options.workers) as pool:
        try:
            for one in media:
                waiting.append(pool.submit(attempt, one))
                if len(waiting) >= options.batch_size + options.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _encode(model: Any, clips: Sequence[tuple[OpenedMedia, Mapping[str, str]]], stored: StoredOpener) -> None:
    """Encode a batch for each stream that lacks some of it."""
    for name, store in stored.stores.items():
        some = [(clip, keys[name]) for clip, keys in clips if keys[name] not in store]
        there = [clip for clip, _ in some if name in clip.streams]
        tokens: Iterator[torch.Tensor] = iter(())
        if there:
            batch = collate_media([Row(media=[clip]) for clip in there], [name])[name]
            moved = {k: v.to(model.device) for k, v in batch.items()}
            tokens = iter(model.features(name, moved).tokens_BSD)
        for clip, key in some:
            record = {"report": asdict(clip.reports[name]), "duration_s": clip.duration_s, "notes": list(clip.notes)}
            if name in clip.streams:
                item = clip.streams[name]
                store.put(key, next(tokens)[: len(item.times_S)], record, item.times_S, item.mask_S)
            else:  # stored as absent
                store.put(key, torch.zeros(0, 1), record)
