"""One run over files: what is new is decoded ahead, embedded in batches and written now and then; the rest is kept, moved or removed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

from unifusion.errors import MediaError
from unifusion.limits import Limits
from unifusion.retrieval.bad_files import BadFiles, window_name
from unifusion.retrieval.embedding import Embedded, Embeds, unit
from unifusion.retrieval.entry import Entry, Name
from unifusion.retrieval.jobs import Job, entry_of, jobs_of
from unifusion.retrieval.looking import Looked, ahead, look, media_of, state_of
from unifusion.retrieval.scan import Wanted
from unifusion.retrieval.snapshot import Snapshot
from unifusion.retrieval.summary import Clock, IndexOptions, Summary
from unifusion.retrieval.writer import Writer

__all__ = ["IndexRun"]


class IndexRun:
    """A run over the clips that were named. The writer's lock is held.

    Args:
        snapshot: what is there.
        embedder: gives the embedder, when there is something to embed.
        options: how.
        limits: of files.
    """

    def __init__(self, snapshot: Snapshot, embedder: Callable[[], Embeds], options: IndexOptions, limits: Limits) -> None:
        self.snapshot, self.options, self.limits = snapshot, options, limits
        self.writer = Writer(snapshot, flush_windows=options.flush_windows, flush_s=options.flush_s)
        self.summary = Summary()
        self._load = embedder
        self._embedder: Embeds | None = None
        self.loading_s = (0.0, 0.0)
        """What loading the embedder took, of the clock and of all cores."""
        self._now = snapshot
        self._by_key = snapshot.by_key()
        self._bad = BadFiles(snapshot.folder / "quarantine.jsonl", skip=options.on_bad == "note")
        self._bad_keys: dict[str, MediaError] = {}
        self._begun: set[int] = set()

    def run(self, wanted: Sequence[Wanted], roots: Collection[str]) -> Summary:
        """Bring the library up to date with `wanted`; what was embedded before an error is written.

        Args:
            wanted: clips that were found.
            roots: absolute words that named them; one of them may hold no clip any more.

        Raises:
            MediaError: a clip cannot be read and `on_bad` is "stop".
        """
        todo = [one for one in wanted if not self._as_it_was(one)]
        try:
            while todo:
                todo = self._pass(todo)
            self._vanished({one.name for one in wanted}, roots)
        finally:
            self.writer.flush()
        self.summary.windows = self.writer.windows
        self._bad.heal()
        return self.summary

    def _as_it_was(self, wanted: Wanted) -> bool:
        """Whether nothing is to be done for a clip; counts it."""
        entry = self.writer.by_name.get(wanted.name)
        if entry is None or not entry.done or entry.state != state_of(wanted) or (entry.error and self.options.retry_bad):
            return False
        if entry.told != wanted.told and (wanted.listed or not entry.listed):
            return False
        self.summary.there += not entry.error
        self.summary.bad += bool(entry.error)
        return True

    def _pass(self, todo: Sequence[Wanted]) -> list[Wanted]:
        """Go through clips once; returns those whose content is that of another one of them, which has to come first."""
        from tqdm import tqdm

        options, later = self.options, list[Wanted]()
        batch: list[tuple[Job, Any]] = []
        with (
            ThreadPoolExecutor(max(1, options.workers)) as pool,
            tqdm(total=len(todo), unit="clip", desc="index", disable=None) as bar,
            closing(ahead(pool, self._look, self._merged(todo), options.batch_size + options.workers)) as looked,
            closing(ahead(pool, self._open, self._jobs(looked, later, bar), options.batch_size + options.workers)) as opened,
        ):
            for job, (clip, seconds) in opened:
                self.summary.decode_s += seconds
                batch.append((job, clip))
                if len(batch) >= options.batch_size:
                    bar.update(self._embed(batch))
                    batch = []
            bar.update(self._embed(batch))
        return later

    def _merged(self, todo: Iterable[Wanted]) -> Iterator[Wanted]:
        """Clips that a manifest told of keep what it told when a folder names them."""
        for wanted in todo:
            entry = self.writer.by_name.get(wanted.name)
            if entry is not None and entry.listed and not wanted.listed:
                metadata, texts = {**entry.metadata, **wanted.metadata}, {**entry.texts, **wanted.texts}
                wanted = replace(wanted, metadata=metadata, texts=texts, listed=True, root=entry.root)
            yield wanted

    def _look(self, wanted: Wanted) -> tuple[Looked, float]:
        """Look at a file, and how long that took."""
        began = time.perf_counter()
        looked = look(wanted, self.snapshot.manifest, self._by_key, self.limits, isolate=self.options.isolate)
        return looked, time.perf_counter() - began

    def _open(self, job: Job) -> tuple[Any, float]:
        """Decode a window, or what is wrong with it, and how long that took."""
        began = time.perf_counter()
        clip: Any
        try:
            media = media_of(job.looked, job.span)
            clip = self.embedder.open(media if job.piece is None else job.piece.window(media))
        except MediaError as error:
            clip = error
        return clip, time.perf_counter() - began

    @property
    def embedder(self) -> Embeds:
        """The embedder, loaded when it is first needed."""
        if self._embedder is None:
            clock = Clock()
            self._embedder = self._load()
            self.loading_s = clock.spent
        return self._embedder

    def _jobs(self, looked: Iterable[tuple[Wanted, tuple[Looked, float]]], later: list[Wanted], bar: Any) -> Iterator[Job]:
        """Windows to embed; clips that need none are dealt with on the way."""
        queued: set[str] = set()
        for wanted, (found, seconds) in looked:
            self.summary.decode_s += seconds
            error = found.error or self._bad_keys.get(found.key)
            if error is not None:
                self._is_bad(self._entry(found), error)
            elif self._is_known(found):
                pass
            elif found.key in queued or not found.spans:
                later.append(wanted)
                continue  # counted when it is its turn
            elif jobs := self._cut(found):
                queued.add(found.key)
                _ = self.embedder  # loaded here, before threads ask for it
                yield from jobs
                continue
            bar.update(1)

    def _is_known(self, found: Looked) -> bool:
        """Keep, move or copy vectors that are there; returns whether they are."""
        same = self.writer.by_name.get(found.wanted.name)
        if same is not None and same.key == found.key and same.done and not same.error:
            self.writer.put(self._entry(found, same))
            self.summary.known_anew += 1
            return True
        if found.spans:
            return False
        source = self.writer.entries.get(self._by_key[found.key].clip)
        if source is None or source.key != found.key:  # it has changed since, so this one is looked at again
            self._by_key.pop(found.key)
            return False
        if not Wanted(path=source.path, root="").rendered and not os.path.lexists(source.path):
            self.writer.put(self._entry(found, source))
            self.summary.moved += 1
            self._bad.mended.add(source.path)
        else:
            self._copy(found, source)
            self.summary.copied += 1
        return True

    def _entry(self, found: Looked, before: Entry | None = None) -> Entry:
        """The row of a clip; with `before` it keeps the number and windows of that one."""
        return entry_of(found, before) if before is not None else replace(entry_of(found), clip=self.writer.new_clip())

    def _copy(self, found: Looked, source: Entry) -> None:
        """Add a clip with the vectors of another of the same content."""
        if not (ids := self._now.ids_of([source.clip])).size:
            self.writer.flush()
            self._now = Snapshot(self.snapshot.folder, self.snapshot.manifest)
            ids = self._now.ids_of([source.clip])
        entry = replace(self._entry(found), kind=source.kind, duration_s=source.duration_s)
        self.writer.put(entry)
        vectors = {space: dict(zip(*self._now.vectors(space, ids), strict=True)) for space in self._now.spaces}
        for window in self._now.windows(ids):
            self.writer.add(
                entry.clip, (window.start_s, window.end_s), streams=window.streams, texts=window.texts,
                vectors={space: held[window.id] for space, held in vectors.items() if window.id in held},
            )  # fmt: skip
            self.writer.windows -= 1  # not embedded by this run
        self.writer.put(replace(self.writer.entries[entry.clip], done=True))
        self._bad.mended.add(entry.path)

    def _cut(self, found: Looked) -> list[Job]:
        """The windows of a clip that are not there yet: an earlier run may have been killed within it."""
        same = self.writer.by_name.get(found.wanted.name)
        if same is not None and same.key == found.key and not same.error:
            there = {(w.start_s, w.end_s) for w in self.snapshot.windows(self.snapshot.ids_of([same.clip]))}
            entry = self._entry(found, same)
            if not (spans := [span for span in found.spans if span not in there]):
                self.writer.put(replace(entry, done=True))
        else:
            entry, spans = self._entry(found), list(found.spans)
        return jobs_of(found, entry, spans, getattr(self.embedder, "rates", (None, None)), self.limits, self.options.isolate)

    def _embed(self, batch: Sequence[tuple[Job, Any]]) -> int:
        """Embed a batch, write it down, and return how many clips ended."""
        began = time.perf_counter()
        results = iter(self._embedded([clip for _, clip in batch if not isinstance(clip, MediaError)]))
        self.summary.encode_s += time.perf_counter() - began
        ended = 0
        for job, clip in batch:
            if job.entry.clip not in self._begun:
                self._begun.add(job.entry.clip)
                self.writer.put(job.entry)
            result = clip if isinstance(clip, MediaError) else next(results)
            if isinstance(result, MediaError):
                self._left_out(job, result)
            else:
                self._take(job, result)
            if job.last:
                self._end(job)
                ended += 1
        self.writer.flush(force=False)
        return ended

    def _embedded(self, clips: Sequence[Any]) -> Sequence[Embedded | MediaError]:
        """Vectors of opened clips; where the batch fails, of each by itself."""
        try:
            return self.embedder.embed_opened(clips) if clips else []
        except MediaError as error:
            return [error] if len(clips) == 1 else [one for clip in clips for one in self._embedded([clip])]

    def _take(self, job: Job, result: Embedded) -> None:
        """Write a window down."""
        looked, (start_s, end_s) = job.looked, job.span
        width, media = self.snapshot.manifest.embedder.width, media_of(looked, job.span)
        self.writer.add(
            job.entry.clip, (start_s, end_s), streams=tuple(n for n, s in result.report.streams.items() if s.present),
            texts={"transcript": media.transcript} if media.transcript else {},
            vectors={space: unit(vector, width, f"{media.name} ({space})") for space, vector in result.vectors.items()},
        )  # fmt: skip
        self.summary.media_s += end_s - start_s

    def _left_out(self, job: Job, error: MediaError) -> None:
        """Note a window that cannot be read; a clip of one window is bad as a whole."""
        if len(job.looked.spans) > 1:
            self._bad.note(window_name(job.entry.path, *job.span), error)
            self.summary.bad_windows += 1
        else:
            self._is_bad(self.writer.entries[job.entry.clip], error)

    def _end(self, job: Job) -> None:
        """The last window of a clip is done."""
        entry = self.writer.entries[job.entry.clip]
        if not entry.windows and not entry.error:
            self._is_bad(entry, MediaError(f"{entry.path}: none of its windows can be read;", remedy="see the lines of each."))
        elif not entry.error:
            self.writer.put(replace(entry, done=True))
            self._by_key[entry.key] = entry
            self._bad.mended.add(entry.path)
            self.summary.clips += 1

    def _is_bad(self, entry: Entry, error: MediaError) -> None:
        """Note a clip that cannot be read, so that the next run does not try it again unless it changes."""
        self._bad.note(entry.path, error)
        self.writer.put(replace(entry, error=str(error), done=True))
        if entry.key:
            self._bad_keys[entry.key] = error
        self.summary.bad += 1

    def _vanished(self, names: Collection[Name], roots: Collection[str]) -> None:
        """Count, or remove, clips that the same words named before and do not name any more."""
        below = tuple(f"{root}{os.sep}" for root in roots)
        for entry in list(self.writer.entries.values()):
            if entry.name in names:
                continue
            if entry.root not in roots and not (entry.path.startswith(below) and not os.path.lexists(entry.path)):
                continue
            if self.options.prune or entry.error:
                self.writer.remove(entry.clip)
                self._bad.mended.add(entry.path)
            self.summary.pruned += self.options.prune and not entry.error
            self.summary.vanished += not self.options.prune and not entry.error
