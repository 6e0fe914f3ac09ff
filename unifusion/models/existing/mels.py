"""Sound as log-mels of Whisper's kind, by transformers' own extractor with the folder's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.errors import MediaError

__all__ = ["Mels", "whole_waveform"]


def whole_waveform(clip: Clip) -> np.ndarray:
    """The sound (N,) from the start of the span: sound that begins later is preceded by the silence that a player gives."""
    waveform_N = clip.waveform_N if clip.waveform_N is not None else np.zeros(0, np.float32)
    late = max(round(clip.waveform_start_s * clip.sampling_rate_hz), 0)
    return np.concatenate([np.zeros(late, np.float32), waveform_N]) if late else waveform_N


class Mels:
    """Makes mels.

    Args:
        settings: of the feature extractor.
        padding: `max_length` for towers of a fixed length, True for the sound's own length.
        chunk_s: seconds that `max_length` pads to, where the settings are silent.
    """

    def __init__(self, settings: Mapping[str, Any], *, padding: str | bool, chunk_s: int = 30) -> None:
        from transformers import WhisperFeatureExtractor

        self.padding = padding
        self.extract = WhisperFeatureExtractor.from_dict({"feature_size": 128, "chunk_length": chunk_s, **settings})

    @property
    def longest_s(self) -> float:
        """Seconds that are not cut off."""
        return float(self.extract.n_samples) / float(self.extract.sampling_rate) if self.padding == "max_length" else float("inf")

    def __call__(self, waveform_N: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return mels (1, bins, F) and mask (1, F).

        Raises:
            MediaError: there is less than one step of sound.
        """
        if len(waveform_N) < self.extract.hop_length:
            raise MediaError(f"{len(waveform_N)} samples of sound are too few for this model;", remedy="give a longer span.")
        found = self.extract(
            waveform_N, sampling_rate=self.extract.sampling_rate, padding=self.padding, truncation=self.padding == "max_length",
            return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        return found["input_features"], found["attention_mask"]
