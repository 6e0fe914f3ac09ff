"""Embedder: text, sound, pictures and clips as vectors of length one in one space."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from unifusion.batch import ModalityReport, StreamReport
from unifusion.conversation import Clip, Media
from unifusion.encoders.encoder import weights_hash
from unifusion.engine.embeddable import as_media, listed
from unifusion.errors import ConfigError, NoStreamError, nearest
from unifusion.limits import Limits
from unifusion.models.aligner import CLIP, Aligner
from unifusion.models.aligner_files import load_aligner
from unifusion.models.opened_rows import to_device, without_padding, words_media
from unifusion.processor import MediaOpener, OpenedMedia, StreamItem
from unifusion.processor.processor import Row, collate_media

__all__ = ["Embedded", "Embedder"]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """One clip, picture, sound or text.

    Attributes:
        vectors: space -> (D,) float32 of length one: `video`, `audio`, `text` (what is said), each where it is there, and always `clip`,
            the sum of picture and sound made one long again (of words alone, their own vector).
        report: which streams were really there.
        duration_s: length of the span.
    """

    vectors: dict[str, np.ndarray]
    report: ModalityReport
    duration_s: float


class Embedder:
    """What a trained embedding model is asked for. The same input gives the same vector, whatever else is embedded with it.

    Args:
        model: put into eval mode.
        name: what to call it.
        isolate: decode in a killable child process.
        strict: damaged frames are an error; otherwise they are flagged in the report's notes.
        limits: of what is opened.
    """

    def __init__(
        self, model: Aligner, *, name: str = "", isolate: bool = False, strict: bool = True, limits: Limits | None = None
    ) -> None:  # fmt: skip
        self.model, self.name = model.eval(), name
        self.limits = limits or Limits()
        specs = {n: s.spec for n, s in model.streams.items()}
        self._words = {n: s for n, s in specs.items() if s.modality == "text"}
        self._media = {n: s for n, s in specs.items() if s.modality != "text"}
        choices: dict[str, Any] = {"limits": self.limits, "max_seconds": model.max_seconds, "isolate": isolate, "strict": strict}
        self._opens = MediaOpener(self._media, **choices) if self._media else None
        self._reads = MediaOpener(self._words, **choices) if self._words else None

    @classmethod
    def load(cls, checkpoint: str | Path = "tiny-embed", *, device: str = "cpu", **options: Any) -> Embedder:
        """Load a shipped checkpoint by name, or a folder that `unifusion train align` wrote.

        Raises:
            CheckpointError: it cannot be loaded.
        """
        return cls(load_aligner(checkpoint, device=device), name=Path(checkpoint).name, **options)

    @property
    def width(self) -> int:
        """D."""
        return self.model.config.width

    @property
    def scale(self) -> float:
        """1 / temperature, as it was learned; no vector has it multiplied in."""
        return float(self.model.scale.detach())

    @property
    def calibration(self) -> dict[str, float]:
        """Figures fitted on held-out rows: `threshold`, the cosine from which a text fits a clip; empty where none were."""
        return dict(self.model.config.calibration)

    @property
    def streams(self) -> dict[str, str]:
        """Stream -> modality."""
        return {n: s.spec.modality for n, s in self.model.streams.items()}

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the vectors that `embed` may give."""
        return (*self.model.config.towers, CLIP)

    @property
    def max_seconds(self) -> float:
        """Longest span that is embedded at once."""
        return self.model.max_seconds

    @property
    def strict(self) -> bool:
        """Whether a damaged frame is an error."""
        return self._opens.strict if self._opens else True

    @property
    def rates(self) -> tuple[float | None, int | None]:
        """Frames and samples a second that are decoded; None where no stream takes any."""
        return self._opens.rates if self._opens else (None, None)

    @cached_property
    def key(self) -> str:
        """Hash of weights, choices and preprocessing: embedders with one key give equal vectors."""
        told = {k: v for k, v in self.model.config.to_dict().items() if k != "calibration"}
        for stream in told["streams"].values():
            stream["encoder_config"] |= {"source": None, "revision": None, "tokenizer": None}
        specs = [s.spec for s in self.model.streams.values()]
        ways = [[s.encoder_class.preprocessing, s.encoder_class.files_hash(s.opening_choices)] for s in specs]
        text = json.dumps([told, ways, self.strict], sort_keys=True)
        return hashlib.sha256(f"{weights_hash(self.model)}{text}".encode()).hexdigest()

    def open(self, media: Media) -> OpenedMedia:
        """Decode and preprocess: the half of embedding that needs no weights.

        Raises:
            MediaError: the file cannot be decoded.
            NoStreamError: it holds nothing that the model reads.
        """
        clip = media.source if isinstance(media.source, Clip) else None
        said = media.transcript or (clip.transcript if clip is not None else None)
        said = said or " ".join(line.text for line in media.lines((media.end_s or math.inf) - (media.start_s or 0.0)))
        bare = clip is not None and clip.frames_THWC is None and clip.waveform_N is None
        found: list[OpenedMedia] = []
        unread = "there are words alone"
        if self._opens is not None and not bare:
            try:
                found.append(self._opens.open(replace(media, transcript=None, subtitles=())))
            except NoStreamError as error:
                if self._reads is None or not said:
                    raise
                unread = error.found.rstrip(";")
        if self._reads is not None and said and said.strip() and "text" not in media.mute:
            length_s = found[0].duration_s if found else clip.duration_s if clip is not None else 0.0
            words = words_media(said)
            found.append(self._reads.open(replace(words, source=Clip(transcript=said, duration_s=length_s)) if length_s else words))
        streams: dict[str, StreamItem] = {n: item for part in found for n, item in part.streams.items()}
        reports = {n: self._report(n, media, found, unread) for n in self.model.streams}
        if not any(bool(item.mask_S.any()) for item in streams.values()):
            what = "; ".join(f"{n}: {r.reason or 'too short for a token'}" for n, r in reports.items())
            remedy = "give picture, sound or words that the model reads."
            raise NoStreamError(f"{media.name}: nothing of it can be embedded ({what});", remedy=remedy)
        return OpenedMedia(
            media=media, streams=streams, reports=reports, duration_s=found[0].duration_s,
            notes=tuple(dict.fromkeys(note for part in found for note in part.notes)),
        )  # fmt: skip

    def _report(self, stream: str, media: Media, found: Sequence[OpenedMedia], unread: str) -> StreamReport:
        """What became of a stream; `unread` is why there is no picture and no sound."""
        for part in found:
            if stream in part.reports:
                return part.reports[stream]
        why = "nobody told what is said" if stream in self._words else unread
        muted = self.streams[stream] in media.mute
        return StreamReport(modality=self.streams[stream], present=False, reason="muted on request" if muted else why)

    @torch.no_grad()
    def embed_opened(self, clips: Sequence[OpenedMedia]) -> list[Embedded]:
        """Embed what `open` gave: the half that computes.

        Raises:
            NoStreamError: one has nothing that the model reads; it is named.
        """
        if not clips:
            return []
        streams = collate_media([Row(media=[clip]) for clip in clips], list(self.model.streams))
        streams |= {name: without_padding(streams[name]) for name in self._words if name in streams}
        found = self.model.vectors(to_device({"rows": torch.tensor(len(clips)), "streams": streams}, self.model.device))
        out = []
        for i, clip in enumerate(clips):
            vectors = {space: v[i].cpu().numpy() for space, (v, there) in found.items() if bool(there[i])}
            if not vectors:
                found_none = f"{clip.media.name}: no token of it is real;"
                raise NoStreamError(found_none, remedy="embed what `open` gave, or a longer span.")
            if CLIP not in vectors:
                vectors[CLIP] = next(iter(vectors.values()))
            report = ModalityReport(streams=dict(clip.reports), notes=list(clip.notes))
            out.append(Embedded(vectors=vectors, report=report, duration_s=clip.duration_s))
        return out

    def embed(self, media: Sequence[Media], *, batch_size: int = 8) -> list[Embedded]:
        """Embed clips, pictures and sounds.

        Raises:
            MediaError: one cannot be decoded, or holds nothing that the model reads; it is named.
        """
        out: list[Embedded] = []
        for first in range(0, len(media), _whole(batch_size)):
            out += self.embed_opened([self.open(m) for m in media[first : first + batch_size]])
        return out

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        """Embed texts: (N, D) float32.

        Raises:
            ConfigError: one is empty, they are one string, or the model reads no words.
        """
        if isinstance(texts, str):
            raise ConfigError(f"{texts!r:.60} is one text, and a list of them is wanted;", remedy="give [text], or call encode.")
        if self._reads is None:
            raise ConfigError(f"the model {self.name} reads no words;", remedy="search by a clip, or take a model with a text tower.")
        for i, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise ConfigError(f"text {i} is {text!r};", remedy="give words.")
        # Texts of like length go together, so that little is padded.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = np.zeros((len(texts), self.width), np.float32)
        for first in range(0, len(order), _whole(batch_size)):
            some = order[first : first + batch_size]
            for i, found in zip(some, self.embed_opened([self.open(words_media(texts[i])) for i in some]), strict=True):
                out[i] = found.vectors[CLIP]
        return out

    def encode(
        self, inputs: Any, *, space: str = CLIP, batch_size: int = 16, show_progress_bar: bool | None = None, convert_to_numpy: bool = True,
        convert_to_tensor: bool = False, normalize_embeddings: bool = True,
    ) -> Any:  # fmt: skip
        """Embed anything, as `SentenceTransformer.encode` of sentence-transformers does for texts. A string is words, never a file's name.

        Args:
            inputs: one of, or a list of: a text (str), a file (Path), a Media, a Clip, a PIL image, a mono waveform (N,) at 16 kHz.
            space: which vector of each.
            batch_size: how many at once.
            show_progress_bar: show one.
            convert_to_numpy: give an array; otherwise a list of tensors.
            convert_to_tensor: give a tensor instead of an array.
            normalize_embeddings: vectors are of length one whatever this says.

        Returns:
            (D,) float32 of one input, (N, D) of a list, in its order.

        Raises:
            ConfigError: an input of another type, or one without the space.
            MediaError: a file cannot be decoded.
        """
        del normalize_embeddings
        given, one = listed(inputs)
        media = [as_media(x) for x in given]
        # Texts of like length go together, so that little is padded.
        order = sorted(range(len(given)), key=lambda i: len(given[i]) if isinstance(given[i], str) else 0)
        out = np.zeros((len(given), self.width), np.float32)
        batches = range(0, len(order), _whole(batch_size))
        for first in tqdm(batches, unit="batch", disable=not show_progress_bar):
            some = order[first : first + batch_size]
            for i, found in zip(some, self.embed([media[i] for i in some], batch_size=batch_size), strict=True):
                if space not in found.vectors:
                    raise ConfigError(f"input {i} has no vector {space!r};", remedy=nearest(space, list(found.vectors)))
                out[i] = found.vectors[space]
        if convert_to_tensor or not convert_to_numpy:
            tensors_ND = torch.from_numpy(out)
            return tensors_ND[0] if one else tensors_ND if convert_to_tensor else list(tensors_ND)
        return out[0] if one else out

    @staticmethod
    def similarity(a: Any, b: Any) -> Any:
        """Cosines (N, M) of vectors (N, D) and (M, D), or of one (D,); a tensor where both are tensors, otherwise an array."""
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            first_ND, second_MD = (F.normalize(torch.atleast_2d(x).float(), dim=-1) for x in (a, b))
            return first_ND @ second_MD.T
        arrays = [np.atleast_2d(np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x, np.float32)) for x in (a, b)]
        units = [x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in arrays]
        return units[0] @ units[1].T

    def calibrated(self, calibration: Mapping[str, float]) -> Embedder:
        """Keep figures that were fitted on held-out rows."""
        self.model.config.calibration = {**self.model.config.calibration, **calibration}
        return self


def _whole(batch_size: int) -> int:
    """A batch size.

    Raises:
        ConfigError: it is none.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size!r};", remedy="give 1 or more.")
    return batch_size
