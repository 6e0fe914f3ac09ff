"""What the library needs of an embedder, and queries as vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from unifusion import share
from unifusion.conversation import Media
from unifusion.errors import CheckpointError, ConfigError

__all__ = ["Embedded", "Embeds", "Query", "files_of", "load_embedder", "query_vector", "unit"]

Query = str | Media | np.ndarray
"""Words, a clip, or a vector (D,)."""
_LENGTH_TOLERANCE = 1e-2


class Embedded(Protocol):
    """What an embedder gives for a clip."""

    @property
    def vectors(self) -> Mapping[str, np.ndarray]:
        """Space -> (D,) float32 of length one; always `clip`."""

    @property
    def report(self) -> Any:
        """A ModalityReport: which streams there were."""

    @property
    def duration_s(self) -> float:
        """Seconds that were decoded."""


class Embeds(Protocol):
    """The part of `unifusion.engine.embedder.Embedder` that a library uses.

    One that has `rates` (frames and samples a second that it decodes) lets long files without an index be decoded in stretches; one that
    has `strict` is loaded again as it was.
    """

    @property
    def name(self) -> str:
        """Of its checkpoint."""

    @property
    def width(self) -> int:
        """D."""

    @property
    def key(self) -> str:
        """Equal keys give equal vectors."""

    @property
    def max_seconds(self) -> float:
        """Longest span that it takes at once."""

    @property
    def scale(self) -> float:
        """Inverse of the learned temperature."""

    @property
    def calibration(self) -> Mapping[str, float]:
        """`threshold`: cosine of text and clip above which a hit is relevant; may be empty."""

    def open(self, media: Media) -> Any:
        """Decode and preprocess."""

    def embed_opened(self, clips: Sequence[Any]) -> Sequence[Embedded]:
        """Compute."""

    def embed(self, media: Sequence[Media]) -> Sequence[Embedded]:
        """Both."""

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D)."""


def load_embedder(source: str, *, device: str = "cpu", isolate: bool = False, strict: bool = True) -> Embeds:
    """Load a checkpoint by name or path.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    from unifusion.engine.embedder import Embedder

    loaded: Embeds = Embedder.load(source, device=device, isolate=isolate, strict=strict)
    return loaded


def files_of(source: str) -> str:
    """A hash of names, sizes and times of a checkpoint's files, "" where it is no folder: equal ones need not be loaded to be compared."""
    folder = share.resolve_checkpoint(source)
    if not folder.is_dir():
        return ""
    found = [(p.relative_to(folder).as_posix(), p.stat()) for p in sorted(folder.rglob("*")) if p.is_file()]
    told = [[name, s.st_size, s.st_mtime_ns] for name, s in found]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def unit(vector_D: np.ndarray, width: int, what: str) -> np.ndarray:
    """A vector of an embedder as float32 of length one.

    Raises:
        CheckpointError: it has another width, holds what is no number, or is not of length one at all.
    """
    vector_D = np.asarray(vector_D, np.float32).reshape(-1)
    length = float(np.linalg.norm(vector_D.astype(np.float64)))
    if len(vector_D) != width or not abs(length - 1.0) < _LENGTH_TOLERANCE:
        raise CheckpointError(
            f"{what}: the embedder gave {len(vector_D)} numbers of length {length:g}, wanted {width} of length 1;",
            remedy="its weights are damaged, or it is no embedding model.",
        )
    return (vector_D / np.float32(length)).astype(np.float32)


def query_vector(parts: Sequence[Query], weights: Sequence[float] | None, embedder: Embeds | None, width: int) -> np.ndarray:
    """The weighted sum of the parts of a query, of length one (D,); of a clip its vector in the space `clip`.

    Args:
        parts: words, clips, vectors.
        weights: one each, below 0 to keep away from a part; all 1 unless told.
        embedder: None where all parts are vectors.
        width: D.

    Raises:
        ConfigError: no part, not a weight for each, or parts that cancel each other.
        MediaError: a clip cannot be read.
    """
    weights = [1.0] * len(parts) if weights is None else list(weights)
    if not parts or len(weights) != len(parts):
        found = f"a query of {len(parts)} parts with {len(weights)} weights;"
        raise ConfigError(found, remedy="give words, a clip or a vector, and a weight each.")
    sum_D = np.zeros(width, np.float64)
    for part, weight in zip(parts, weights, strict=True):
        sum_D += weight * _part_vector(part, embedder, width)
    length = float(np.linalg.norm(sum_D))
    if not length > 1e-6:
        raise ConfigError("the parts of the query cancel each other;", remedy="leave one out, or give it another weight.")
    return (sum_D / length).astype(np.float32)


def _part_vector(part: Query, embedder: Embeds | None, width: int) -> np.ndarray:
    """One part as a vector of length one (D,)."""
    if isinstance(part, np.ndarray):
        length = float(np.linalg.norm(part.astype(np.float64))) if part.shape == (width,) else 0.0
        if not (length > 0 and np.isfinite(length)):
            raise ConfigError(f"a query vector of shape {part.shape} and length {length:g};", remedy=f"wanted ({width},), not all 0.")
        return part.astype(np.float64) / length
    if embedder is None:
        raise ConfigError("words and clips need an embedder;", remedy="open the library with one.")
    if isinstance(part, str):
        return unit(embedder.embed_texts([part])[0], width, repr(part))
    return unit(embedder.embed([part])[0].vectors["clip"], width, part.name)
