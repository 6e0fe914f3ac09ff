"""LangChain's `Embeddings` over the embedding space: texts, and clips beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from unifusion.conversation import Media
from unifusion.errors import ConfigError

__all__ = ["UniFusionEmbeddings"]


class UniFusionEmbeddings(Embeddings):
    """Vectors of length one for texts (`embed_documents`, `embed_query`) and clips (`embed_media`), all in one space.

    Args:
        checkpoint: an embedding model's folder, or the name of one that ships; loaded when first used.
        embedder: one that is loaded already, instead.
        device: where it computes.
        isolate: decode clips in a killable child process.
        batch_size: texts at once.
    """

    def __init__(
        self, checkpoint: str | Path = "tiny-embed", *, embedder: Any = None, device: str = "cpu", isolate: bool = False,
        batch_size: int = 64,
    ) -> None:  # fmt: skip
        self.checkpoint, self.device, self.isolate, self.batch_size = str(checkpoint), device, isolate, batch_size
        self._embedder = embedder

    @property
    def embedder(self) -> Any:
        """The `unifusion.engine.embedder.Embedder`.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        if self._embedder is None:
            from unifusion.engine.embedder import Embedder

            self._embedder = Embedder.load(self.checkpoint, device=self.device, isolate=self.isolate)
        return self._embedder

    @property
    def key(self) -> str:
        """Hash of weights, choices and preprocessing: stores made under another are refused."""
        return str(self.embedder.key)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors (N, D) of texts."""
        if not texts:
            return []
        found: list[list[float]] = self.embedder.embed_texts(list(texts), batch_size=self.batch_size).tolist()
        return found

    def embed_query(self, text: str) -> list[float]:
        """Vector (D,) of a text; queries and documents are embedded alike."""
        return self.embed_documents([text])[0]

    def embed_media(self, media: Sequence[Media | str | Path], *, space: str = "clip", batch_size: int = 8) -> list[list[float]]:
        """Vectors (N, D) of clips.

        Args:
            media: spans, or files; what a file is follows from its header.
            space: `clip`, or one of its streams: `video`, `audio`, `text`.
            batch_size: clips at once.

        Raises:
            MediaError: a file cannot be decoded.
            ConfigError: a clip has nothing in this space.
        """
        clips = [one if isinstance(one, Media) else _media(one) for one in media]
        found = []
        for clip, embedded in zip(clips, self.embedder.embed(clips, batch_size=batch_size), strict=True):
            if space not in embedded.vectors:
                raise ConfigError(f"{clip.name} has nothing in the space {space!r};", remedy=f"it has {', '.join(embedded.vectors)}.")
            found.append([float(x) for x in embedded.vectors[space]])
        return found


def _media(path: str | Path) -> Media:
    """A whole file, of the kind that its header says."""
    from unifusion.media import probe

    info = probe(str(path))
    return Media(kind="image" if info.is_image else "video" if info.has_video else "audio", source=str(path))
