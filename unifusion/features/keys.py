"""Under which key a clip's features lie: what the media hold, and what encodes them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, astuple, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from unifusion.conversation import Altered, Clip, Media, Mix, Take
from unifusion.encoders.encoder import weights_hash
from unifusion.errors import MediaError
from unifusion.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unifusion.processor import StreamSpec

__all__ = ["encoder_key", "encoder_keys", "item_key", "media_key"]


def media_key(media: Media, limits: Limits | None = None) -> str:
    """Content of one span as a hash: file bytes (not the name), bytes, arrays or a clip-world reference, with start, end and mutes.

    A file's bytes are read once a process, for as long as its size and times stay what they are.

    Raises:
        MediaError: there is no such regular file of a known format, or it is larger than `limits` allow.
    """
    digest = hashlib.sha256()
    source = media.source
    if isinstance(source, Clip):
        for array in (source.frames_THWC, source.frame_times_s, source.waveform_N):
            if array is not None:
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
        said = [source.transcript] if source.transcript else []
        told = [source.sampling_rate_hz, source.waveform_start_s, source.duration_s, source.start_s, *said]
        digest.update(json.dumps(told).encode())
    elif isinstance(source, bytes):
        digest.update(source)
    elif isinstance(source, Mix):
        parts = [media_key(m, limits) if m is not None else "" for m in (source.still, source.voice, source.background)]
        mixed = ["mix", *parts, source.snr_db, source.size_px, source.seed, *([asdict(source.take)] if source.take != Take() else [])]
        digest.update(json.dumps(mixed).encode())
    elif isinstance(source, Altered):
        told = [media_key(m, limits) if m is not None else "" for m in (source.base, source.picture, source.sound)]
        digest.update(json.dumps(["altered", *told, source.shuffle]).encode())
    elif str(source).startswith("clip-world://"):
        digest.update(str(source).encode())
    else:
        digest = _hash_of_file(str(source), limits or Limits())
    level = [] if media.at_least_db is None else [media.at_least_db]
    said = [media.transcript] if media.transcript else []
    lines = [astuple(line) for line in media.subtitles]
    digest.update(json.dumps([media.kind, media.start_s, media.end_s, sorted(media.mute), *level, *said, *lines]).encode())
    return digest.hexdigest()


def _hash_of_file(path: str, limits: Limits) -> Any:
    """A hash object that has been fed the file."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror};", remedy="check the path.") from error
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return _hash_once(path, state, limits).copy()


@lru_cache(maxsize=1 << 17)
def _hash_once(path: str, state: tuple[int, ...], limits: Limits) -> Any:
    """Feed a file to a hash object; `state` is what changes when the file does."""
    from unifusion.media.source import open_source

    digest = hashlib.sha256()
    with open_source(Path(path), limits) as source:
        while block := source.handle.read(1 << 20):
            digest.update(block)
    return digest


def item_key(media_hash: str, encoder_hash: str) -> str:
    """The key of one clip's features by one encoder."""
    return hashlib.sha256(f"{media_hash}{encoder_hash}".encode()).hexdigest()


def encoder_key(processor: Any, model: Any, stream: str) -> str:
    """Hash of one stream's encoder: its weights, every preprocessing choice, and which preprocessing it is."""
    return encoder_keys(processor.specs[stream], model.encoders[stream], processor.max_seconds, processor.opener.strict)[0]


def encoder_keys(spec: StreamSpec, encoder: Any, max_seconds: float, strict: bool) -> tuple[str, str]:
    """The key of an encoder, and the one it had when the place of its weights was part of it.

    What is read from a hub name, a folder or a checkpoint that holds everything is one encoder where weights and choices are equal.
    A text encoder's tokenizer is known by its place alone, which therefore stays part of the key.
    """
    weights = weights_hash(encoder)
    limits = json.dumps([max_seconds, strict, spec.encoder_class.preprocessing])
    choices = spec.encoder_choices
    placed = _hashed(weights, asdict(choices), limits)
    if spec.modality == "text":
        return placed, placed
    return _hashed(weights, asdict(replace(choices, source=None, revision=None)), limits), placed


def _hashed(weights: str, choices: Mapping[str, Any], limits: str) -> str:
    """One hash of them all."""
    return hashlib.sha256(f"{weights}{json.dumps(choices, sort_keys=True)}{limits}".encode()).hexdigest()
