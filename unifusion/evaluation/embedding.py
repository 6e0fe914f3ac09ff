"""Vectors of clips and texts, embedded once: kept as .npy beside what was made of them, by embedder and content."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm.auto import tqdm

from unifusion import atomic
from unifusion.conversation import Media
from unifusion.errors import ConfigError, NoStreamError

__all__ = ["Embeds", "Entry", "VectorStore", "embed_clips", "embed_words"]

log = logging.getLogger(__name__)
_FLUSH_S = 30.0
_PICTURE = "video"
"""The space that an embedder puts pictures into; that of a still is called `image` here."""


class Embeds(Protocol):
    """What is needed of `engine.embedder.Embedder`."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def key(self) -> str:
        """Embedders with one key give equal vectors."""

    @property
    def streams(self) -> Mapping[str, str]:
        """Stream -> modality."""

    @property
    def scale(self) -> float:
        """1 / temperature."""

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        """Texts as (N, D)."""

    def open(self, media: Media) -> Any:
        """Decode one clip."""

    def embed_opened(self, clips: Sequence[Any]) -> Sequence[Any]:
        """Embed clips that were opened: objects with `vectors` (space -> (D,)), `report` and `duration_s`."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Vectors of one clip or text.

    Attributes:
        vectors: space -> (D,) float32; of a text the one space `query`; nothing where the model reads nothing of a clip.
        duration_s: seconds of the clip.
        cropped_s: seconds at its end that were left out.
    """

    vectors: Mapping[str, np.ndarray]
    duration_s: float = 0.0
    cropped_s: float = 0.0


class VectorStore:
    """A folder of vectors by one embedder: pairs of `NAME.npy` (rows, D) float32 and `NAME.json`, which says whose the rows are.

    A pair is there whole or not at all: the JSON is written last. What a kill cut off is embedded again.

    Args:
        folder: the folder of all embedders; this one's is named by its key.
        key: of the embedder.
        width: D.

    Raises:
        ConfigError: a file of the folder is not as it was written.
    """

    def __init__(self, folder: str | Path, key: str, width: int) -> None:
        self.folder, self.key, self.width = Path(folder) / key[:16], key, width
        self._entries: dict[str, Entry] = {}
        self._waiting: dict[str, Entry] = {}
        for told in sorted(self.folder.glob("*.json")):
            try:
                self._entries |= self._read(told)
            except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                raise ConfigError(f"{told} and its .npy are not as they were written ({error});", remedy="delete both.") from error

    def _read(self, told: Path) -> dict[str, Entry]:
        """The entries of one pair."""
        known = json.loads(told.read_text(encoding="utf-8"))
        rows_ND = np.load(told.with_suffix(".npy"), allow_pickle=False)
        if known["embedder"] != self.key or rows_ND.ndim != 2 or rows_ND.shape[1] != self.width or not np.isfinite(rows_ND).all():
            raise ValueError(f"rows of shape {rows_ND.shape} by {known['embedder'][:16]}, wanted width {self.width} by {self.key[:16]}")
        return {
            name: Entry(
                vectors={space: rows_ND[i] for space, i in one["rows"].items()}, duration_s=one["duration_s"], cropped_s=one["cropped_s"]
            )
            for name, one in known["entries"].items()
        }  # fmt: skip

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def put(self, name: str, entry: Entry) -> None:
        """Keep an entry; `flush` writes it.

        Raises:
            ConfigError: a vector is not of the width, or not finite.
        """
        for space, vector in entry.vectors.items():
            if vector.shape != (self.width,) or not np.isfinite(vector).all():
                found = f"the embedder gave {name} a vector of shape {vector.shape} in {space!r}, or one that is not finite;"
                raise ConfigError(found, remedy=f"width {self.width} is wanted: check the model.")
        self._entries[name] = self._waiting[name] = entry

    def flush(self) -> None:
        """Bring what was put to the disk."""
        if not self._waiting:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows: list[np.ndarray] = []
        told: dict[str, Any] = {}
        for name, entry in self._waiting.items():
            places = {space: len(rows) + i for i, space in enumerate(entry.vectors)}
            rows += list(entry.vectors.values())
            told[name] = {"rows": places, "duration_s": entry.duration_s, "cropped_s": entry.cropped_s}
        stem = self.folder / hashlib.sha256("".join(told).encode()).hexdigest()[:24]
        work = stem.with_name(f".{stem.name}.tmp")
        with work.open("wb") as file:
            np.save(file, np.array(rows, dtype=np.float32).reshape(-1, self.width))
        atomic.sync(work)
        work.replace(stem.with_suffix(".npy"))
        atomic.write_text(stem.with_suffix(".json"), json.dumps({"embedder": self.key, "entries": told}, indent=0) + "\n")
        self._waiting.clear()


def embed_clips(
    embedder: Embeds, media: Mapping[str, Media], store: VectorStore, *, batch_size: int = 8, workers: int = 0
) -> dict[str, Entry]:  # fmt: skip
    """Embed what the store lacks, and return all of it by name; what was done before an error or a signal is kept.

    Args:
        embedder: the model.
        media: name (content) -> clip.
        store: filled.
        batch_size: clips at once.
        workers: threads that decode ahead; 0 decodes in turn.

    Raises:
        MediaError: a clip cannot be read; names the file. One that can, and of which the model reads nothing, has no vectors.
    """
    todo = [name for name in media if f"media:{name}" not in store]
    if len(todo) < len(media):
        log.info("%d of %d clips were embedded before (%s)", len(media) - len(todo), len(media), store.folder)
    batches = [todo[i : i + batch_size] for i in range(0, len(todo), batch_size)]
    opened, flushed_s = _opened(embedder, [media[name] for name in todo], batch_size + workers, workers), time.monotonic()
    try:
        for names in tqdm(batches, desc="embed", disable=None):
            clips = {name: next(opened) for name in names}
            read = [name for name in names if not isinstance(clips[name], NoStreamError)]
            for name, one in zip(read, embedder.embed_opened([clips[name] for name in read]), strict=True):
                store.put(f"media:{name}", _entry(one, media[name]))
            for name in (n for n in names if n not in read):
                store.put(f"media:{name}", Entry(vectors={}))
            if time.monotonic() - flushed_s > _FLUSH_S:
                store.flush()
                flushed_s = time.monotonic()
    finally:
        opened.close()
        store.flush()
    return {name: store[f"media:{name}"] for name in media}


def _entry(found: Any, media: Media) -> Entry:
    """What an embedder said of a clip; the picture of a still is in the space `image`, what is said in `words`."""
    called = {_PICTURE: "image" if media.kind == "image" else _PICTURE, "text": "words"}
    vectors = {called.get(space, space): np.asarray(v, dtype=np.float32) for space, v in found.vectors.items()}
    cropped = max((s.cropped_s for s in found.report.streams.values()), default=0.0)
    return Entry(vectors=vectors, duration_s=float(found.duration_s), cropped_s=float(cropped))


def _opened(embedder: Embeds, media: Sequence[Media], ahead: int, workers: int) -> Generator[Any]:
    """Open clips in their order, some ahead of time in threads (decoders leave Python's lock); the error where there is no stream."""

    def attempt(one: Media) -> Any:
        """The clip, or why nothing of it is read."""
        try:
            return embedder.open(one)
        except NoStreamError as error:
            return error

    if not workers:
        yield from map(attempt, media)
        return
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for one in media:
                waiting.append(pool.submit(attempt, one))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def embed_words(embedder: Embeds, texts: Sequence[str], store: VectorStore, *, batch_size: int = 64) -> np.ndarray:
    """Vectors (N, D) of texts; those that the store lacks are embedded."""
    names = {text: f"text:{hashlib.sha256(text.encode()).hexdigest()}" for text in texts}
    todo = [text for text in names if names[text] not in store]
    for i in range(0, len(todo), 4096):
        some = todo[i : i + 4096]
        vectors_ND = np.asarray(embedder.embed_texts(some, batch_size=batch_size), dtype=np.float32)
        for text, vector in zip(some, vectors_ND, strict=True):
            store.put(names[text], Entry(vectors={"query": vector}))
        store.flush()
    return np.array([store[names[text]].vectors["query"] for text in texts], dtype=np.float32).reshape(len(texts), store.width)
