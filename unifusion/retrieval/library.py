"""A folder of clips as something that can be searched: windows of clips, their vectors, and what is known of them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion.errors import DatasetError
from unifusion.limits import Limits
from unifusion.retrieval.choosing import chosen
from unifusion.retrieval.derived import Derived
from unifusion.retrieval.embedding import Embeds, files_of
from unifusion.retrieval.indexing import IndexRun
from unifusion.retrieval.layout import BackendChoice, EmbedderFacts, new_manifest, read_manifest, write_manifest
from unifusion.retrieval.lock import writing
from unifusion.retrieval.place import clear, must_be_free, tidy
from unifusion.retrieval.reading import Reading
from unifusion.retrieval.repair import compact, repair
from unifusion.retrieval.scan import absolute, scan
from unifusion.retrieval.snapshot import Snapshot
from unifusion.retrieval.summary import Clock, IndexOptions, Summary

__all__ = ["Library"]


class Library(Reading):
    """Windows of clips, searched by words, clips or vectors. Made by `create`, opened by `open`, searched by `search`.

    One process writes at a time (`index`, `delete`, `rebuild`, `repair`); any number read, each what was there when it opened the library
    or called `refresh`.
    """

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
            clock = Clock()
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
            summary.passed_over, summary.write_s = passed_over, run.writer.seconds
            summary.seconds, summary.cpu_s = (spent - loading for spent, loading in zip(clock.spent, run.loading_s, strict=True))
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
                self._choose(chosen("", {}, len(self), self.manifest.embedder.width))
        self._derived = Derived(self._snapshot, self.manifest.backend, writable=True)
        self._derived.save()
        if run.writer.segments and compact(self._snapshot):
            self._snapshot = Snapshot(self.folder, self.manifest)
        run.writer.seconds += time.perf_counter() - began

    def _choose(self, choice: BackendChoice) -> None:
        """Take another back end."""
        self.manifest = replace(self.manifest, backend=choice)
        write_manifest(self.folder, self.manifest)
