"""What is heard in a stretch of sound, by name: an audio classifier of transformers, or names compared by an embedding model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unifusion.conversation import Clip, Media
from unifusion.errors import CheckpointError, ConfigError

__all__ = ["NAMES", "SoundTagger"]

NAMES = (
    "a dog barking", "a rooster crowing", "rain", "sea waves", "a crackling fire", "a crying baby", "a person sneezing", "a ticking clock",
    "a helicopter", "a chainsaw", "a man speaking", "a woman speaking", "music",
)  # fmt: skip
"""What an embedding model is asked for where nobody names anything else."""
_CLASSIFIED_S = 10.0
_LEAST_S = 0.1
_Scores = Callable[[np.ndarray], np.ndarray]


class SoundTagger:
    """Names of sounds with scores; long sound is judged piece by piece, and its scores are means.

    Args:
        scores: waveform (N,) -> a score in [0, 1] for each of `names`, (L,).
        names: of the sounds.
        rate_hz: samples a second that `scores` takes.
        longest_s: seconds that it takes at once.
        name: what to call it.
        top: how many are told at most.
        least: score that a sound needs to be told.
    """

    def __init__(
        self, scores: _Scores, names: Sequence[str], *, rate_hz: int, longest_s: float, name: str, top: int = 3, least: float = 0.1
    ) -> None:  # fmt: skip
        self._scores, self.names, self.rate_hz, self.longest_s, self.name = scores, list(names), rate_hz, longest_s, name
        self.top, self.least = top, least

    @classmethod
    def load(cls, source: str, *, names: Sequence[str] = (), device: str = "cpu", **options: Any) -> SoundTagger:
        """An embedding model of ours (`tiny-embed`), asked for `names`, or a classifier of transformers, which has its own.

        Args:
            source: folder, shipped name, or name on the hub.
            names: of sounds, for an embedding model.
            device: where to compute.
            options: `top`, `least`.

        Raises:
            CheckpointError: it is neither, or cannot be read.
            ConfigError: names for a classifier.
        """
        from unifusion.models.aligner_files import is_aligner

        if is_aligner(source):
            return cls._compared(source, names or NAMES, device, options)
        if names:
            raise ConfigError(f"{source!r} is a classifier with sounds of its own;", remedy="leave the names out.")
        return cls._classified(source, device, options)

    @classmethod
    def _compared(cls, source: str, names: Sequence[str], device: str, options: dict[str, Any]) -> SoundTagger:
        """By cosines of a sound and of names, made probabilities as the model learned to."""
        from unifusion.engine.embedder import Embedder

        embedder = Embedder.load(source, device=device)
        names_LD = embedder.embed_texts(list(names))
        rate_hz = embedder.rates[1] or 16_000

        def scores(waveform_N: np.ndarray) -> np.ndarray:
            """Softmax over the names."""
            clip = Clip(waveform_N=waveform_N, sampling_rate_hz=rate_hz, duration_s=len(waveform_N) / rate_hz)
            (found,) = embedder.embed([Media(kind="audio", source=clip)])
            logits_L = names_LD @ found.vectors["audio"] * embedder.scale
            shares_L = np.exp(logits_L - logits_L.max())
            return np.asarray(shares_L / shares_L.sum())

        return cls(scores, names, rate_hz=rate_hz, longest_s=embedder.max_seconds, name=embedder.name, **options)

    @classmethod
    def _classified(cls, source: str, device: str, options: dict[str, Any]) -> SoundTagger:
        """By `AutoModelForAudioClassification`: sigmoids where the config says that several sounds may be there, else a softmax."""
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification
        from transformers.models.auto.modeling_auto import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING

        try:
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            if type(config) not in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING:
                raise CheckpointError(f"{source!r} is a {config.model_type}, no classifier of sounds;", remedy="name an AST or tiny-embed.")
            model = AutoModelForAudioClassification.from_pretrained(source, use_safetensors=True, trust_remote_code=False)
            extractor = AutoFeatureExtractor.from_pretrained(source, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"cannot read the classifier {source!r}: {str(error).strip().splitlines()[0]};",
                remedy="give a folder of transformers, or download the name while online.",
            ) from error
        model = model.to(device).eval()
        several = config.problem_type == "multi_label_classification"

        @torch.inference_mode()
        def scores(waveform_N: np.ndarray) -> np.ndarray:
            """Of its classes."""
            given = extractor(waveform_N, sampling_rate=extractor.sampling_rate, return_tensors="pt")
            logits_L = model(**{k: v.to(device) for k, v in given.items()}).logits[0].float()
            return np.asarray((logits_L.sigmoid() if several else logits_L.softmax(-1)).cpu())

        names = [str(config.id2label[i]) for i in range(config.num_labels)]
        short = Path(source).name if Path(source).exists() else source
        rate_hz = int(extractor.sampling_rate)
        return cls(scores, names, rate_hz=rate_hz, longest_s=_CLASSIFIED_S, name=f"{config.model_type} {short}", **options)

    def tags(self, waveform_N: np.ndarray) -> list[tuple[str, float]]:
        """The sounds of a waveform (N,) at `rate_hz`, the surest first: (name, score). Less than 0.1 s has none."""
        longest = max(1, int(self.longest_s * self.rate_hz))
        pieces = [waveform_N[i : i + longest] for i in range(0, len(waveform_N), longest)]
        pieces = [p for p in pieces if len(p) >= _LEAST_S * self.rate_hz]
        if not pieces:
            return []
        lengths = np.array([len(p) for p in pieces], np.float64)
        mean_L = np.average([self._scores(p) for p in pieces], axis=0, weights=lengths)
        order = sorted(range(len(self.names)), key=lambda i: (-mean_L[i], i))[: self.top]
        return [(self.names[i], round(float(mean_L[i]), 4)) for i in order if mean_L[i] >= self.least]
