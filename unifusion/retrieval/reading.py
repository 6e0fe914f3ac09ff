"""A library as a reader has it: opened, searched, looked into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from unifusion.conversation import Media
from unifusion.errors import CheckpointError, ConfigError
from unifusion.retrieval.backends.backend import Where
from unifusion.retrieval.derived import Derived
from unifusion.retrieval.duplicates import duplicate_groups
from unifusion.retrieval.embedding import Embeds, Query, load_embedder, query_vector
from unifusion.retrieval.found import Found
from unifusion.retrieval.layout import Manifest, again, read_manifest
from unifusion.retrieval.snapshot import Snapshot

__all__ = ["Reading"]


class Reading:
    """Windows of clips, searched by words, clips or vectors: what was there when the library was opened, or at `refresh`.

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
        self._load = load or (lambda: load_embedder(manifest.embedder.source, strict=manifest.embedder.strict))
        self._embedder = None if embedder is None else self._checked(embedder)
        self._snapshot = Snapshot(folder, manifest)
        self._derived = Derived(self._snapshot, manifest.backend)

    @classmethod
    def open(cls, folder: str | Path, embedder: Embeds | None = None, *, load: Callable[[], Embeds] | None = None) -> Self:
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

    def expect(self, **wanted: float | str | None) -> None:
        """Refuse choices (`window_s`, `hop_s`, `precision`, `backend`) that are others than those of the library; None or "" is none.

        Raises:
            ConfigError: one is another.
        """
        for name, value in wanted.items():
            own = self.manifest.backend.name if name == "backend" else getattr(self.manifest, name)
            if value and value != own:
                flag = f"--{name.removesuffix('_s')} {value}"
                anew = f"make the index anew: {again(self.folder, self.manifest.roots)} {flag}"
                remedy = "leave it out, or " + (f"add --rebuild to {flag}." if name == "backend" else anew)
                raise ConfigError(f"{self.folder} has {name} {own}, {value} was asked for;", remedy=remedy)

    def refresh(self) -> None:
        """See what a writer has written since the library was opened.

        Raises:
            CheckpointError: it is damaged, or was made anew by another embedder.
        """
        manifest = read_manifest(self.folder)
        if manifest.id != self.manifest.id:
            raise CheckpointError(f"{self.folder} was made anew;", remedy="open it again.")
        if manifest.backend == self.manifest.backend and self._snapshot.is_current():
            self.manifest = manifest
            return
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
        self._snapshot.must_have(space)
        if space not in self.spaces:
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
        """Ids ascending (N,) int64 and vectors (N, D) float32 of a space.

        Raises:
            ConfigError: no window has a vector in it.
        """
        self._snapshot.must_have(space)
        return self._snapshot.vectors(space)

    def duplicates(self, threshold: float = 0.95, space: str = "clip") -> list[list[Found]]:
        """Groups of windows whose cosine is at least `threshold`, and of files of equal content; the largest group first.

        Windows of one clip that overlap do not count. A window's score is its cosine with the first of its group.

        Raises:
            ConfigError: no window has a vector in that space.
        """
        self._snapshot.must_have(space)
        ids_N, scored = duplicate_groups(self._snapshot, threshold, space)
        return [[self._found(int(ids_N[i]), score) for i, score in group] for group in scored]

    def _found(self, id: int, score: float) -> Found:
        """A window with what is known of its clip."""
        window = self._snapshot.window(id)
        entry = self._snapshot.entries[window.clip]
        return Found(
            path=entry.path, kind=entry.kind, start_s=float(window.start_s), end_s=float(window.end_s), score=score,
            streams=window.streams, texts={**entry.texts, **window.texts}, metadata=dict(entry.metadata), id=window.id,
        )  # fmt: skip
