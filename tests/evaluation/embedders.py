"""An embedding model small enough to reason about: what a clip is of stands in its source, and its vector is that of the thing."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np

from unifusion.batch import ModalityReport, StreamReport
from unifusion.conversation import Media
from unifusion.errors import ConfigError, MediaError, NoStreamError


def unit(vector):
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def direction_of(thing, width):
    """A direction that is the same for the same thing, wherever it comes from."""
    seed = int.from_bytes(hashlib.sha256(thing.encode()).digest()[:4], "big")
    return unit(np.random.default_rng(seed).normal(size=width))


def clip_of(number, thing, *, mute=(), kind="video", transcript=None):
    """A reference that names its thing; clip world's references are not looked at before they are opened."""
    return Media(kind=kind, source=f"clip-world://0/{number}?thing={thing}", mute=mute, transcript=transcript)


class ToyEmbedder:
    """The surface of the embedder. Streams that are not muted are there; noise keeps clips of one thing apart.

    Args:
        noise: length of what is added to the direction of a thing.
        collapsed: give one vector to everything.
        key: of the model.
        deaf: it reads nothing of a sound.
        wordless: it has no tower for texts.
    """

    name, max_seconds, scale, calibration = "toy", 8.0, 20.0, {}

    def __init__(self, noise=0.3, width=24, collapsed=False, key="k" * 64, deaf=False, wordless=False):
        self.noise, self.width, self.collapsed, self.key = noise, width, collapsed, key
        self.deaf, self.embedded, self.texts = deaf, [], []
        self.streams = {"video": "video", "audio": "audio", **({} if wordless else {"words": "text"})}

    @classmethod
    def load(cls, checkpoint="tiny-embed", *, device="cpu", isolate=False, strict=True):
        return cls(collapsed=str(checkpoint) == "collapsed")

    def open(self, media):
        if "broken" in str(media.source):
            raise MediaError(f"{media.source}: no known format;", remedy="check the file.")
        if self.deaf and media.kind == "audio":
            raise NoStreamError(f"{media.source}: the model reads no sound;")
        return media

    def embed(self, media, *, batch_size=8):
        return self.embed_opened([self.open(m) for m in media])

    def embed_opened(self, clips):
        return [self._one(m) for m in clips]

    def _one(self, media):
        self.embedded.append(media)
        thing = str(media.source).partition("thing=")[2]
        kinds = {"video": ("video", "audio"), "audio": ("audio",), "image": ("video",)}[media.kind]
        there = [k for k in kinds if k not in media.mute]
        vectors = {k: self._near(thing, f"{k}/{media.source}") for k in there}
        if media.transcript:
            vectors["text"] = self._near(media.transcript, "said")
        vectors["clip"] = unit(sum(vectors[k] for k in there)) if there else vectors["text"]
        report = ModalityReport(streams={k: StreamReport(modality=k, present=True, seconds=2.0, cropped_s=1.0) for k in there})
        return SimpleNamespace(vectors=vectors, report=report, duration_s=2.0)

    def _near(self, thing, what):
        if self.collapsed:
            return direction_of("all", self.width)
        return unit(direction_of(thing, self.width) + self.noise * direction_of(what, self.width))

    def embed_texts(self, texts, *, batch_size=64):
        self.texts += texts
        if "text" not in self.streams.values():
            raise ConfigError("the model toy reads no words;")
        things = [t.rstrip(".").split()[-1].casefold() for t in texts]
        return np.array([self._near(thing, text) for thing, text in zip(things, texts, strict=True)])
