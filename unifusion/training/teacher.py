"""What a teacher makes of rows, kept on disk: made once, not in every epoch."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from unifusion.conversation import Example
from unifusion.encoders.encoder import weights_hash
from unifusion.errors import ConfigError, NoStreamError, nearest
from unifusion.features import media_key
from unifusion.limits import Limits
from unifusion.models.aligner import CLIP, Aligner
from unifusion.models.aligner_files import is_aligner, load_aligner
from unifusion.models.build import from_anywhere
from unifusion.models.encoded import EncodedModel, EncodedStream
from unifusion.models.opened_rows import OpenedRow, RowOpener, collate_rows, to_device
from unifusion.processor.streams import read_config
from unifusion.training.align_figures import vectors_of_texts
from unifusion.training.kept import RowKey, row_key, unsaid
from unifusion.training.launch import everyone_waits, my_share

__all__ = ["Taught", "Teacher"]

log = logging.getLogger(__name__)
WORDS = "words"
"""Under which the vector of a row's plain text stands."""
_SHARD = 512
"""Rows of a file."""


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What a teacher made of rows.

    Attributes:
        vectors: name (a space, or `words`) -> (N, E) float32; zero where a row has none.
        place: a row and its text -> their place.
    """

    vectors: Mapping[str, np.ndarray]
    place: Mapping[tuple[RowKey, str], int]

    def of(self, rows: Sequence[RowKey], texts: Sequence[str]) -> dict[str, Tensor]:
        """Vectors (B, E) of rows with their texts, by name."""
        at = [self.place[told] for told in zip(rows, texts, strict=True)]
        return {name: torch.from_numpy(value[at]) for name, value in self.vectors.items()}


class Teacher:
    """An embedding model, or an encoder of the catalog with weights: the mean of its tokens then.

    Args:
        told: folder or name of an embedding model; or `{checkpoint: ..}`, or `{encoder: whisper, source: .., encoder_config: ..}`.
        max_seconds: longest span shown to an encoder.
        device: where it computes.

    Raises:
        ConfigError: it is neither.
        CheckpointError: it cannot be read.
    """

    def __init__(self, told: str | Mapping[str, Any], *, max_seconds: float = 30.0, device: str | torch.device = "cpu") -> None:
        given: dict[str, Any] = {"checkpoint": told} if isinstance(told, str) else dict(told)
        self.name = str(given.get("checkpoint") or given.get("encoder") or "")
        if "checkpoint" in given:
            if not is_aligner(given["checkpoint"]):
                found = f"the teacher {self.name} is no embedding model;"
                raise ConfigError(found, remedy="name one, or an encoder: {encoder: clip, source: ..}.")
            self.model: EncodedModel = load_aligner(given["checkpoint"], device=device)
        elif "encoder" in given:
            inner = {**dict(given.pop("encoder_config", None) or {}), **{k: given.pop(k) for k in ("source", "revision") if k in given}}
            inner = {k: from_anywhere(v) if k in ("source", "tokenizer") else v for k, v in inner.items()}
            stream = read_config(EncodedStream, {**given, "encoder_config": inner}, "the teacher")
            if stream.spec.modality == "text":
                found = "the teacher is an encoder of words alone;"
                raise ConfigError(found, remedy="name one of picture or sound, or an embedding model.")
            self.model = EncodedModel({stream.spec.modality: stream}, max_seconds=max_seconds).to(device)
        else:
            raise ConfigError(f"a teacher of {sorted(given)};", remedy=nearest("checkpoint", ["checkpoint", "encoder"]))
        self.model.requires_grad_(False).eval()
        streams = {n: [s.encoder, asdict(s.spec.encoder_choices)] for n, s in self.model.streams.items()}
        text = json.dumps([weights_hash(self.model), streams, self.model.max_seconds], sort_keys=True, default=str)
        self.key = hashlib.sha256(text.encode()).hexdigest()

    @property
    def aligner(self) -> Aligner | None:
        """The teacher as an embedding model, where it is one."""
        return self.model if isinstance(self.model, Aligner) else None

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the vectors that it gives."""
        if self.aligner is None:
            return tuple(self.model.streams)
        return (*self.aligner.config.spaces_of("media"), CLIP, *([WORDS] if self.aligner.config.spaces_of("text") else []))

    def teach(self, examples: Sequence[Example], texts: Sequence[str], folder: str | Path, *, batch_size: int = 32) -> Taught:
        """What it makes of rows and of a text of each; files of `folder` are read where they are there. Processes share the rest.

        Raises:
            MediaError: a clip cannot be read.
        """
        where = Path(folder) / f"teacher-{self.key[:16]}"
        pairs = list({(row_key(e), t): (e, t) for e, t in zip(examples, texts, strict=True)}.values())
        shards = [pairs[k : k + _SHARD] for k in range(0, len(pairs), _SHARD)]
        paths = [where / f"{_name(shard)}.safetensors" for shard in shards]
        todo = [(path, shard) for path, shard in zip(paths, shards, strict=True) if not _whole(path)]
        for path, shard in tqdm(list(my_share(todo)), desc="teacher", disable=None):
            self._write(path, shard, batch_size)
        everyone_waits()
        found = [load_file(path) for path in paths]
        log.info("teacher %s: %d rows, %d files made, %d read", self.name, len(pairs), len(todo), len(paths) - len(todo))
        vectors = {name: np.concatenate([part[name] for part in found]) for name in self.spaces}
        return Taught(vectors=vectors, place={(row_key(e), t): k for k, (e, t) in enumerate(pairs)})

    def _write(self, path: Path, shard: Sequence[tuple[Example, str]], batch_size: int) -> None:
        """One file."""
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.spaces}
        for first in range(0, len(shard), batch_size):
            some = shard[first : first + batch_size]
            for name, value in self._made([e for e, _ in some], [t for _, t in some]).items():
                parts[name].append(value)
        path.parent.mkdir(parents=True, exist_ok=True)
        work = path.with_name(f".{path.name}.tmp")
        save_file({name: np.ascontiguousarray(np.concatenate(each)) for name, each in parts.items()}, work)
        work.replace(path)

    @torch.no_grad()
    def _made(self, examples: Sequence[Example], texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Vectors (B, E) of rows, by name."""
        teacher = self.aligner
        streams = list(self.model.streams)
        if teacher is not None:
            streams = [n for s in teacher.config.spaces_of("media") for n in teacher.config.towers[s]]
        opener = RowOpener(self.model, only=streams)
        batch = to_device(collate_rows([_opened(opener, e) for e in examples], streams), self.model.device)
        if teacher is None:
            return {name: self._mean(name, batch["streams"].get(name), len(examples)) for name in streams}
        found = teacher.vectors(batch)
        none = torch.zeros(len(examples), teacher.config.width)
        out = {space: found[space][0] if space in found else none for space in self.spaces if space != WORDS}
        told = {space: value.float().cpu().numpy() for space, value in out.items()}
        return {**told, **({WORDS: vectors_of_texts(teacher, list(texts))} if WORDS in self.spaces else {})}

    def _mean(self, name: str, batch: Mapping[str, Any] | None, rows: int) -> np.ndarray:
        """The mean of an encoder's tokens of each row (B, E)."""
        out = torch.zeros(rows, self.model.width_of(name), device=self.model.device)
        if batch is not None:
            found = self.model.features(name, batch)
            weight_MS = found.mask_BS.float()
            mean_MD = (found.tokens_BSD.float() * weight_MS[..., None]).sum(dim=1) / weight_MS.sum(dim=1, keepdim=True).clamp(min=1)
            out = out.index_copy(0, batch["rows"], mean_MD)
        told: np.ndarray = out.cpu().numpy()
        return told


def _opened(opener: RowOpener, example: Example) -> OpenedRow:
    """A row; one without any of the teacher's streams is empty: it teaches nothing."""
    try:
        return opener.open(unsaid(example))
    except NoStreamError:
        return OpenedRow(id=example.id, streams={}, reports={})


def _name(shard: Sequence[tuple[Example, str]]) -> str:
    """The name of the file of some rows: a hash of what they hold."""
    told = [(example.id, [media_key(m, Limits()) for m in example.media], text) for example, text in shard]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def _whole(path: Path) -> bool:
    """Whether a file is there and can be read."""
    try:
        return path.is_file() and bool(load_file(path))
    except (SafetensorError, OSError, ValueError):
        return False
