"""A folder of clips as something that can be searched: windows of clips, their vectors, and what is known of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.conversation import Media
from unifusion.errors import CheckpointError, ConfigError, DatasetError
from unifusion.limits import Limits
from unifusion.retrieval.backends.backend import Where
from unifusion.retrieval.choosing import chosen
from unifusion.retrieval.derived import Derived
from unifusion.retrieval.duplicates import duplicate_groups
from unifusion.retrieval.embedding import Embeds, Query, files_of, load_embedder, query_vector
from unifusion.retrieval.found import Found
from unifusion.retrieval.indexing import IndexRun
from unifusion.retrieval.layout import BackendChoice, EmbedderFacts, Manifest, again, new_manifest, read_manifest, write_manifest
from unifusion.retrieval.lock import writing
from unifusion.retrieval.place import clear, must_be_free, tidy
from unifusion.retrieval.repair import compact, repair
from unifusion.retrieval.scan import absolute, scan
from unifusion.retrieval.snapshot import Snapshot
from unifusion.retrieval.summary import IndexOptions, Summary

__all__ = ["Library"]


class Library:
    """Windows of clips, searched by words, clips or vectors. Made by `create`, opened by `open`.

    One process writes at a time (`index`, `delete`, `rebuild`, `repair`); any number read, each what was there when it opened the library
    or called `refresh`.

    Args:
        folder: of the library.
        manifest: its manifest.
        embedder: given, or loaded when it is first needed.
        load: loads it; None loads the checkpoint that the manifest names.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, embedder: Embeds | None = None, load: Callable[[], Embeds] | None = None
    ) -> None:  # fmt: skip
        self.folder, self.manifest = folder, manifest
        self._load = load or (lambda: load_embedder(manifest.embedder.source))
        self._embedder = None if embedder is None else self._checked(embedder)
        self._snapshot = Snapshot(folder, manifest)
        self._derived = Derived(self._snapshot, manifest.backend)

    @classmethod
    def create(
        cls, folder: str | Path, embedder: Embeds, *, source: str = "", window_s: float | None = None, hop_s: float | None = None,
        precision: str = "float32", backend: str = "", config: Mapping[str, Any] | None = None, overwrite: bool = False,
    ) -> Library:  # fmt: skip
        """Make an empty library.

        Args:
            folder: a new or empty one.
            embedder: gives its vectors.
            source: name or path by which the embedder is loaded again; its own name unless told.
            window_s: length of a window; 6 s, or the embedder's longest span where that is shorter.
            hop_s: from the begin of a window to the next; a window's length unless told.
            precision: of the numbers on disk, float32 or float16.
            backend: what searches; chosen by the number of windows unless told.
            config: its choices.
            overwrite: remove the library that is there.

        Raises:
            ConfigError: the folder holds something, or choices that do not fit.
        """
        folder = Path(folder)
        manifest = new_manifest(
            embedder, source or embedder.name, window_s=window_s, hop_s=hop_s, precision=precision,
            backend=chosen(backend, config or {}, 0, embedder.width),
        )  # fmt: skip
        must_be_free(folder, overwrite)
        with writing(folder):
            clear(folder)
            write_manifest(folder, manifest)
        return cls(folder, manifest, embedder)

    @classmethod
    def open(cls, folder: str | Path, embedder: Embeds | None = None, *, load: Callable[[], Embeds] | None = None) -> Library:
        """Open a library to search it or to go on with it.

        Args:
            folder: that `create` made.
            embedder: must be the one whose vectors are there; None loads it when it is first needed.
            load: how it is loaded then.

        Raises:
            ConfigError: there is none, or the embedder is another one.
            CheckpointError: it is damaged, or of another version.
        """
        folder = Path(folder)
        return cls(folder, read_manifest(folder), embedder, load)

    def __len__(self) -> int:
        """Windows."""
        return int(self._snapshot.alive_N.sum())

    @property
    def clips(self) -> int:
        """Clips that have windows."""
        return sum(not entry.error for entry in self._snapshot.entries.values())

    @property
    def spaces(self) -> list[str]:
        """Spaces that can be searched, `clip` first."""
        return self._snapshot.spaces

    @property
    def embedder(self) -> Embeds:
        """The embedder whose vectors these are.

        Raises:
            ConfigError: what was loaded is another one.
        """
        if self._embedder is None:
            self._embedder = self._checked(self._load())
        return self._embedder

    def _checked(self, embedder: Embeds) -> Embeds:
        """Refuse an embedder whose vectors would not compare with those that are there."""
        facts = self.manifest.embedder
        if (embedder.key, embedder.width) != (facts.key, facts.width):
            raise ConfigError(
                f"{self.folder} holds vectors of the embedder {facts.name} ({facts.key[:12]}, width {facts.width}), "
                f"this is {embedder.name} ({embedder.key[:12]}, width {embedder.width});",
                remedy=f"take that one, or make the index anew: {again(self.folder, self.manifest.roots)} --model NAME",
            )
        return embedder

    def refresh(self) -> None:
        """See what a writer has written since the library was opened.

        Raises:
            CheckpointError: it is damaged, or was made anew by another embedder.
        """
        manifest = read_manifest(self.folder)
        if manifest.id != self.manifest.id:
            raise CheckpointError(f"{self.folder} was made anew;", remedy="open it again.")
        self.manifest = manifest
        self._snapshot = Snapshot(self.folder, manifest)
        self._derived = Derived(self._snapshot, manifest.backend)

    def search(
        self, query: Query | Sequence[Query], k: int = 5, where: Where | None = None, space: str = "clip", *,
        weights: Sequence[float] | None = None,
    ) -> list[Found]:  # fmt: skip
        """Find the windows nearest to a query, the best first; equal scores by id.

        Args:
            query: words, a clip, a vector (D,), or several of these: their sum. Of a clip its vector in the space `clip` is taken, so that
                it is what is left after its `mute`.
            k: how many at most.
            where: a filter on metadata, as back ends read it.
            space: vectors that are searched: of whole windows (`clip`), or of their `video`, `audio` or `text` alone.
            weights: of several parts, below 0 to keep away from one.

        Raises:
            ConfigError: a query, filter or space that cannot be used.
            MediaError: a clip of the query cannot be read.
        """
        parts: list[Query] = [query] if isinstance(query, str | Media | np.ndarray) else list(query)
        vectors_alone = all(isinstance(part, np.ndarray) for part in parts)
        width = self.manifest.embedder.width
        query_D = query_vector(parts, weights, None if vectors_alone else self.embedder, width)
        if not len(self) or not self.spaces:
            return []
        matches = self._derived.backend(space).search(query_D[None], k, where)
        return [
            self._found(int(id), float(score))
            for id, score in zip(matches.ids_BK[0], matches.scores_BK[0], strict=True)
            if id >= 0 and self._snapshot.holds(int(id))
        ]

    def relevant(self, found: Sequence[Found]) -> bool | None:
        """Whether the best of what words found is relevant by the embedder's calibration; None where it has none."""
        threshold = self.manifest.embedder.calibration.get("threshold")
        return None if threshold is None else bool(found) and found[0].score >= threshold

    def get(self, ids: Sequence[int]) -> list[Found]:
        """Windows by their numbers, with a score of 0.

        Raises:
            ConfigError: there is none of a number.
        """
        missing = [id for id in ids if not self._snapshot.holds(id)]
        if missing:
            raise ConfigError(f"no window {missing[0]} in {self.folder};", remedy="numbers stand in what a search found.")
        return [self._found(id, 0.0) for id in ids]

    def vectors(self, space: str = "clip") -> tuple[np.ndarray, np.ndarray]:
        """Ids ascending (N,) int64 and vectors (N, D) float32 of a space."""
        return self._snapshot.vectors(space)

    def duplicates(self, threshold: float = 0.95, space: str = "clip") -> list[list[Found]]:
        """Groups of windows whose cosine is at least `threshold`, and of files of equal content; the largest group first.

        Windows of one clip that overlap do not count. A window's score is its cosine with the first of its group.
        """
        ids_N, scored = duplicate_groups(self._snapshot, threshold, space)
        return [[self._found(int(ids_N[i]), score) for i, score in group] for group in scored]

    def index(
        self, paths: Sequence[str | Path], options: IndexOptions | None = None, *, limits: Limits = Limits()
    ) -> Summary:  # fmt: skip
        """Bring the library up to date with folders, clips and manifests; killed at any moment, the same call goes on.

        What has not changed is not embedded again. See `scan` for what is read, `IndexOptions` for how.

        Raises:
            ConfigError: another process writes, or the embedder is another one.
            DatasetError: a path that is not there, a manifest that is not as its format says, or nothing but empty folders.
            MediaError: a clip cannot be read and `options.on_bad` is "stop".
        """
        with writing(self.folder):
            tidy(self.folder)
            self.refresh()
            wanted, passed_over = scan(paths, without=Path(os.path.abspath(self.folder)), limits=limits)
            roots = {absolute(path) for path in paths}
            if not wanted and not any(entry.root in roots for entry in self._snapshot.entries.values()):
                named = ", ".join(str(path) for path in paths)
                raise DatasetError(f"{named}: no clips, {passed_over} other files;", remedy="name video, sound or pictures.")
            self._note_roots(roots)
            self._same_files()
            run = IndexRun(self._snapshot, lambda: self.embedder, options or IndexOptions(), limits)
            summary = run.run(wanted, roots)
            self._settle(run)
            summary.passed_over = passed_over
            summary.write_s = run.writer.seconds
            return summary

    def delete(self, paths: Sequence[str | Path]) -> int:
        """Remove the windows of files, or of all below folders, and return how many there were. The files themselves stay.

        Raises:
            ConfigError: another process writes.
        """
        with writing(self.folder):
            tidy(self.folder)
            self.refresh()
            run = IndexRun(self._snapshot, lambda: self.embedder, IndexOptions(), Limits())
            named = [absolute(path) for path in paths]
            before = len(self)
            for entry in list(self._snapshot.entries.values()):
                if any(entry.path == path or entry.path.startswith(f"{path}{os.sep}") for path in named):
                    run.writer.remove(entry.clip)
            run.writer.flush()
            self._settle(run)
            return before - len(self)

    def rebuild(self, *, backend: str = "", config: Mapping[str, Any] | None = None) -> None:
        """Make what is searched again from the segments.

        Args:
            backend: another one from now on; "auto" goes back to choosing by the number of windows.
            config: its choices.

        Raises:
            ConfigError: another process writes, or there is no such back end.
            CheckpointError: segments are damaged.
        """
        with writing(self.folder):
            tidy(self.folder)
            self.refresh()
            if backend:
                self._choose(chosen("" if backend == "auto" else backend, config or {}, len(self), self.manifest.embedder.width))
            self._derived = Derived(self._snapshot, self.manifest.backend, writable=True)
            self._derived.save(anew=True)

    @classmethod
    def repair(cls, folder: str | Path) -> list[str]:
        """Set damaged segments aside, so that the next `index` encodes what was in them; returns what was wrong.

        Raises:
            ConfigError: there is no library, or another process writes.
            CheckpointError: its manifest is damaged.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        with writing(folder):
            return repair(folder, manifest)

    def _found(self, id: int, score: float) -> Found:
        """A window with what is known of its clip."""
        window = self._snapshot.window(id)
        entry = self._snapshot.entries[window.clip]
        return Found(
            path=entry.path, start_s=float(window.start_s), end_s=float(window.end_s), score=score, streams=window.streams,
            texts={**entry.texts, **window.texts}, metadata=dict(entry.metadata), id=window.id,
        )  # fmt: skip

    def _note_roots(self, roots: set[str]) -> None:
        """Remember what is indexed, for the command that makes all of it again."""
        if not roots <= set(self.manifest.roots):
            self.manifest = replace(self.manifest, roots=tuple(sorted(roots | set(self.manifest.roots))))
            write_manifest(self.folder, self.manifest)

    def _same_files(self) -> None:
        """Load the embedder where its files are not those that were used last, since only then can it be another one."""
        facts = self.manifest.embedder
        if facts.files and self._embedder is None and files_of(facts.source) != facts.files:
            fresh = EmbedderFacts.of(self.embedder, facts.source)
            self.manifest = replace(self.manifest, embedder=fresh)
            write_manifest(self.folder, self.manifest)

    def _settle(self, run: IndexRun) -> None:
        """After a run: see what is there now, bring the back ends up to it, and merge small segments."""
        began = time.perf_counter()
        if run.writer.segments:
            self.refresh()
        if not self.manifest.backend.fixed:
            best = chosen("", {}, len(self), self.manifest.embedder.width)
            if best != self.manifest.backend:
                self._choose(best)
        self._derived = Derived(self._snapshot, self.manifest.backend, writable=True)
        self._derived.save()
        if run.writer.segments and compact(self._snapshot):
            self._snapshot = Snapshot(self.folder, self.manifest)
        run.writer.seconds += time.perf_counter() - began

    def _choose(self, choice: BackendChoice) -> None:
        """Take another back end."""
        self.manifest = replace(self.manifest, backend=choice)
        write_manifest(self.folder, self.manifest)
