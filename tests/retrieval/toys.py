"""A deterministic embedder without torch, a back end in a few lines, and clips on disk."""

from __future__ import annotations

import hashlib
import time
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from unifusion.errors import CheckpointError, ConfigError, NoStreamError
from unifusion.retrieval.backends.backend import Backend, Matches

WIDTH = 16
COLOURS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}
TONES = {"low": 200.0, "middle": 800.0, "high": 3200.0}


def axis(name):
    """A fixed direction (D,) for a name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=WIDTH)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def unit(vector):
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@dataclass
class Stream:
    present: bool


@dataclass
class Report:
    streams: dict


@dataclass
class Vectors:
    vectors: dict
    report: Report
    duration_s: float


@dataclass
class Opened:
    """What the toy decoded: colour (3,), loudest pitch, words."""

    colour: np.ndarray | None
    pitch_hz: float | None
    words: str
    duration_s: float
    name: str


@dataclass
class ToyEmbedder:
    """Colours, pitches and words as sums of fixed directions: `red` finds red pictures, `low` low tones."""

    name: str = "toy"
    key: str = "k" * 64
    width: int = WIDTH
    max_seconds: float = 6.0
    scale: float = 14.0
    calibration: dict = field(default_factory=lambda: {"threshold": 0.5})
    streams: dict = field(default_factory=lambda: {"video": "video", "audio": "audio", "text": "text"})
    delay_s: float = 0.0
    rates: tuple = (None, None)
    opened: list = field(default_factory=list)
    """Spans that were decoded, to count by."""
    embedded: int = 0

    def open(self, media):
        from unifusion.limits import Limits
        from unifusion.processor.opening import decode

        rate_hz, heard = None if media.kind == "audio" else 2.0, media.kind != "image"
        clip, _ = decode(media, rate_hz=rate_hz, audio=heard, max_seconds=self.max_seconds, limits=Limits())
        self.opened.append((Path(media.name).name, media.start_s, media.end_s))
        colour = None if clip.frames_THWC is None or "video" in media.mute else clip.frames_THWC.mean(axis=(0, 1, 2))
        pitch = None
        if clip.waveform_N is not None and len(clip.waveform_N) > 400 and "audio" not in media.mute:
            spectrum = np.abs(np.fft.rfft(clip.waveform_N))
            pitch = float(np.argmax(spectrum)) * clip.sampling_rate_hz / len(clip.waveform_N)
        if colour is None and pitch is None and not media.transcript:
            raise NoStreamError(f"{media.name}: nothing for the toy;")
        return Opened(colour, pitch, media.transcript or "", clip.duration_s, media.name)

    def embed_opened(self, clips):
        out = []
        for clip in clips:
            time.sleep(self.delay_s)
            self.embedded += 1
            vectors = {}
            if clip.colour is not None:
                near = min(COLOURS, key=lambda c: np.abs(np.array(COLOURS[c]) - clip.colour).sum())
                vectors["video"] = unit(axis(near) + 0.001 * np.resize(clip.colour, WIDTH))
            if clip.pitch_hz is not None:
                near = min(TONES, key=lambda t: abs(np.log(TONES[t] / max(clip.pitch_hz, 1.0))))
                vectors["audio"] = unit(axis(near) + 1e-5 * clip.pitch_hz * np.ones(WIDTH))
            if clip.words:
                vectors["text"] = self.embed_texts([clip.words])[0]
            both = [vectors[s] for s in ("video", "audio") if s in vectors] or [vectors["text"]]
            vectors["clip"] = unit(np.sum(both, axis=0))
            out.append(Vectors(vectors, Report({s: Stream(s in vectors) for s in self.streams}), clip.duration_s))
        return out

    def embed(self, media, *, batch_size=8):
        return [self.embed_opened([self.open(m)])[0] for m in media]

    def embed_texts(self, texts, *, batch_size=64):
        return np.stack([unit(np.sum([axis(w) for w in text.lower().split()], axis=0)) for text in texts])


class Quiet:
    """A method that works some times and then raises."""

    def __init__(self, plain, *, after, error):
        self.plain, self.left, self.error = plain, after, error

    def __get__(self, owner, kind=None):
        def call(*args):
            self.left -= 1
            if self.left < 0:
                raise self.error
            return self.plain(owner, *args)

        return call


class ToyBackend(Backend):
    """NumPy, and filters of equality alone."""

    loads = 0

    def __init__(self, width, config):
        super().__init__(width, config)
        self.held = {}

    def __len__(self):
        return len(self.held)

    def add(self, ids_N, vectors_ND, rows):
        if len(ids_N) != len(rows) or (len(ids_N) and abs(np.linalg.norm(vectors_ND, axis=1) - 1).max() > 1e-5):
            raise ConfigError("vectors that do not fit;")
        self.held.update((int(i), (v, dict(r))) for i, v, r in zip(ids_N, vectors_ND, rows, strict=True))

    def delete(self, ids_N):
        return sum(self.held.pop(int(i), None) is not None for i in ids_N)

    def search(self, queries_BD, k, where=None):
        ids = [i for i, (_, row) in sorted(self.held.items()) if all(row.get(key) == value for key, value in (where or {}).items())]
        scores = np.full((len(queries_BD), k), -np.inf, np.float32)
        found = np.full((len(queries_BD), k), -1, np.int64)
        for b, query in enumerate(queries_BD):
            best = sorted((-float(self.held[i][0] @ query), i) for i in ids)[:k]
            for n, (score, i) in enumerate(best):
                scores[b, n], found[b, n] = -score, i
        return Matches(scores_BK=scores, ids_BK=found)

    def save(self, folder):
        import json

        ids = sorted(self.held)
        np.save(folder / "v.npy", np.array([self.held[i][0] for i in ids], np.float32).reshape(-1, self.width))
        (folder / "rows.json").write_text(json.dumps([ids, [self.held[i][1] for i in ids]]))

    @classmethod
    def load(cls, folder, width, config):
        import json

        cls.loads += 1
        try:
            ids, rows = json.loads((folder / "rows.json").read_text())
            vectors = np.load(folder / "v.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: {error};") from error
        made = cls(width, config)
        made.add(np.array(ids, np.int64), vectors, rows)
        return made


def picture(path, colour):
    """A still of one colour."""
    Image.new("RGB", (32, 32), COLOURS[colour]).save(path)
    return path


def tone(path, *pitches, seconds=1.0, rate=8000):
    """A sound of tones one after the other, `seconds` each."""
    t = np.arange(round(seconds * rate)) / rate
    samples = np.concatenate([0.4 * np.sin(2 * np.pi * TONES[p] * t) for p in pitches])
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((samples * 32767).astype("<i2").tobytes())
    return path
