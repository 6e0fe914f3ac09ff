"""What `Embedder.encode` takes: anything that can be embedded, as the opener of clips has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from unifusion.conversation import Clip, Media
from unifusion.errors import ConfigError
from unifusion.models.opened_rows import words_media

__all__ = ["as_media", "listed"]

_SAMPLING_RATE_HZ = 16_000


def listed(inputs: Any) -> tuple[list[Any], bool]:
    """Inputs as a list, and whether there was but one that was in none; an array of strings is a list of texts."""
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "UO":
        return inputs.ravel().tolist(), inputs.ndim == 0
    if isinstance(inputs, list | tuple):
        return list(inputs), False
    return [inputs], True


def as_media(given: Any) -> Media:
    """One input of `encode`.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(given, Media):
        return given
    if isinstance(given, str) and given.strip():
        return words_media(given)
    if isinstance(given, Path | Clip):
        return Media(kind="video", source=given)
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().numpy()
    if isinstance(given, np.ndarray) and given.ndim == 1 and len(given) and np.issubdtype(given.dtype, np.floating):
        sound = Clip(waveform_N=given.astype(np.float32), sampling_rate_hz=_SAMPLING_RATE_HZ, duration_s=len(given) / _SAMPLING_RATE_HZ)
        return Media(kind="audio", source=sound)
    if hasattr(given, "convert") and hasattr(given, "getexif"):
        from unifusion.media.still import paint

        return Media(kind="image", source=Clip(frames_THWC=paint(given, None)[None], frame_times_s=np.zeros(1)))
    what = f"an array {given.shape} of {given.dtype}" if isinstance(given, np.ndarray) else f"{given!r:.60} of type {type(given).__name__}"
    raise ConfigError(
        f"{what} cannot be embedded;", remedy="give a text, a Path, a Media, a Clip, a PIL image, or a mono waveform of floats at 16 kHz."
    )
