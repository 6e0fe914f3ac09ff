"""The indexes that the page offers, each with what answers over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unifusion.errors import ConfigError
from unifusion.retrieval.ask import Asker
from unifusion.retrieval.chat_answers import ChatAnswers
from unifusion.retrieval.library import Library

from .settings import LIMITS

if TYPE_CHECKING:
    from unifusion import Engine

__all__ = ["Shelf"]


@dataclass(kw_only=True)
class Shelf:
    """Libraries by the name that people see: made by `open`.

    Attributes:
        askers: name -> what answers over it.
        folders: name -> where it lies.
        states: name -> how its folder was when it was opened.
    """

    askers: dict[str, Asker] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    states: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folders: Sequence[str | Path], engine: Engine, *, model: str = "", embedder: Any = None) -> Shelf:
        """Open indexes, and load what embeds their queries, so that what is wrong with one is told at the start.

        Args:
            folders: that `unifusion index` wrote.
            engine: answers over what was found.
            model: its name.
            embedder: of all of them; None loads the one that each names.

        Raises:
            ConfigError: one is no index.
            CheckpointError: one is damaged, or its embedder cannot be loaded.
        """
        shelf = cls()
        for folder in folders:
            place = Path(folder).resolve()
            library = Library.open(place, embedder, load=lambda place=place: _loaded(place))
            library.embedder  # noqa: B018 - loads it
            name, number = place.name, 2
            while name in shelf.askers:
                name, number = f"{place.name} ({number})", number + 1
            shelf.askers[name] = Asker(library=library, generator=ChatAnswers(engine=engine, label=model))
            shelf.folders[name], shelf.states[name] = place, _state(place)
        return shelf

    def asker(self, name: str) -> Asker:
        """What answers over an index, as it is now: one that was brought up to date meanwhile is opened again.

        Raises:
            ConfigError: there is no index of that name, or it was made anew by another embedder.
            CheckpointError: it is damaged.
        """
        if name not in self.askers:
            raise ConfigError("There is no such index;", remedy="choose one of the list.")
        asker = self.askers[name]
        if (state := _state(self.folders[name])) != self.states[name]:
            asker.library = Library.open(self.folders[name], asker.library.embedder)
            self.states[name] = state
        return asker


def _loaded(folder: Path) -> Any:
    """The embedder that an index names, with the limits of this page, decoding in a child process."""
    from unifusion.engine.embedder import Embedder
    from unifusion.retrieval.layout import read_manifest

    return Embedder.load(read_manifest(folder).embedder.source, isolate=True, limits=LIMITS)


def _state(folder: Path) -> tuple[int, ...]:
    """Equal ones mean that nobody has written to an index."""
    found = []
    for path in (folder / "manifest.json", folder / "segments"):
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)
