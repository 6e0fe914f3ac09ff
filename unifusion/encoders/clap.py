"""CLAP's sound half: a windowed transformer over mel pictures, trained against captions of sounds and music.

Follows Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation" (2022) and
the hub cards laion/clap-*.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ClapAudioConfig, ClapAudioModel, ClapFeatureExtractor, ClapModel

from unifusion.conversation import Clip
from unifusion.encoders._hub import backbone_config, build_backbone, load_half, preprocessing_of, read_config, resolve_backbone
from unifusion.encoders._sound import mono
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError

__all__ = ["CLAP"]

LEAST_S = 0.05
"""Shorter sound is refused: the picture of it would be its own repetition."""


class CLAP(Encoder):
    """Sound at 48 kHz in chunks of 10 s, 3.2 tokens a second (the rows of the last grid above each other in frequency are averaged).

    A shorter chunk is repeated until it fills the picture, as published; tokens of the repetition are masked out. Longer sound is cut
    into chunks: the published way, a shrunken picture and three places drawn at random, would give another answer each time.
    """

    @dataclass(kw_only=True)
    class Config(Encoder.Config):
        """`source` (such as laion/clap-htsat-unfused) or an inline `backbone` of ClapAudioConfig keys."""

        mel: dict[str, Any] = field(default_factory=dict)
        """Keys of ClapFeatureExtractor (`feature_size`, `fft_window_size`, `hop_length`, `max_length_s`, `sampling_rate`, ..); what is
        left out is as the source's preprocessor_config.json says, else as published."""

    modality = "audio"

    @classmethod
    def tiny(cls) -> Config:
        """A picture of 16 bins for 0.64 s at 4 kHz, two stages, width 16; one token each 80 ms."""
        shape = {
            "window_size": 2, "num_mel_bins": 16, "spec_size": 32, "patch_size": 4, "patch_stride": [4, 4], "hidden_size": 16,
            "depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 8, "num_hidden_layers": 2,
        }  # fmt: skip
        mel = {
            "feature_size": 16, "sampling_rate": 4000, "hop_length": 40, "max_length_s": 0.62, "fft_window_size": 64,
            "frequency_max": 2000, "truncation": "rand_trunc",
        }  # fmt: skip
        return cls.Config(backbone=shape, mel=mel)

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with nothing left open.

        Raises:
            CheckpointError: the source has no readable config.
            ConfigError: an unknown key, or bins that the network does not take.
        """
        if config.source and not config.backbone:
            whole = read_config(config.source, config.revision, ClapAudioConfig)
            config = replace(config, backbone=whole.get("audio_config") or whole)
        resolved: CLAP.Config = resolve_backbone(config, ClapAudioConfig)
        plain = _extractor(json.dumps({"truncation": "fusion" if resolved.backbone["enable_fusion"] else "rand_trunc"})).to_dict()
        known = {k: v for k, v in plain.items() if k not in ("feature_extractor_type", "nb_frequency_bins", "nb_max_samples")}
        read = ClapFeatureExtractor.get_feature_extractor_dict
        told = {} if set(known) <= set(resolved.mel) else preprocessing_of(read, resolved.source, resolved.revision)
        mel = {**known, **{k: v for k, v in told.items() if k in known}, **resolved.mel}
        unknown = sorted(set(mel) - set(known))
        if unknown:
            raise ConfigError(f"mel has no key {unknown[0]!r};", remedy=f"known: {', '.join(sorted(known))}.")
        if mel["feature_size"] != resolved.backbone["num_mel_bins"]:
            raise ConfigError(
                f"the picture has {mel['feature_size']} bins, the network takes {resolved.backbone['num_mel_bins']};",
                remedy="set mel.feature_size to the network's num_mel_bins.",
            )
        return replace(resolved, mel=mel)

    @classmethod
    def rate_hz(cls, config: Config) -> float:
        """Samples per second."""
        return float(config.mel["sampling_rate"])

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the sound half, without the projection behind it."""
        if load_weights and config.source:
            return load_half(ClapModel, ClapAudioModel, config, key="audio_config", part="audio_model")
        return build_backbone(ClapAudioModel, config, ClapAudioConfig)

    @classmethod
    def steps(cls, config: Config) -> int:
        """Tokens of a chunk: the picture is folded `spec_size / bins` times, and each stage but the first halves it."""
        shape = backbone_config(config, ClapAudioConfig)
        side: int = int(shape.spec_size) // int(shape.patch_stride[1]) // 2 ** (len(shape.depths) - 1)
        return side * (int(shape.spec_size) // int(shape.num_mel_bins))

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Cut the waveform into chunks and take each one's mel picture.

        Returns:
            EncoderInput with `input_features` (C, 1, frames, bins), or (C, 4, frames, bins), four times the same, where the network fuses
            pictures. A token's time is the middle of its share of the chunk.

        Raises:
            MediaError: no sound, at another rate, or less than 50 ms of it.
        """
        extractor, rate_hz = _extractor(json.dumps(config.mel, sort_keys=True)), round(config.mel["sampling_rate"])
        chunk, steps = round(config.mel["max_length_s"] * rate_hz), cls.steps(config)
        waveform_N = mono(clip, least=round(LEAST_S * rate_hz), rate_hz=rate_hz)
        pieces = [p for p in waveform_N.split(chunk) if len(p) >= round(LEAST_S * rate_hz)]
        given = extractor([p.numpy() for p in pieces], sampling_rate=rate_hz, max_length=chunk, return_tensors="pt")
        share_s = chunk / rate_hz / steps
        middle_CK = torch.arange(len(pieces))[:, None] * (chunk / rate_hz) + (torch.arange(steps).double() + 0.5) * share_s
        told_C = torch.tensor([max(1, round(len(p) / rate_hz / share_s)) for p in pieces])
        heard = (len(pieces) - 1) * chunk + len(pieces[-1])
        return EncoderInput(
            tensors={"input_features": given["input_features"].float()},
            times_S=(clip.waveform_start_s + middle_CK).float().flatten(),
            mask_S=(torch.arange(steps) < told_C[:, None]).flatten(),
            seconds=heard / rate_hz,
            samples=heard,
        )

    def encode_chunks(self, input_features: Tensor) -> Tensor:
        """Map input_features (C, pictures, frames, bins) to tokens (C, steps, D).

        Raises:
            ConfigError: another number of bins than the network takes.
        """
        bins = self.config.backbone["num_mel_bins"]
        if input_features.dim() != 4 or input_features.shape[-1] != bins:
            raise ConfigError(
                f"input_features are {tuple(input_features.shape)}, wanted (C, pictures, frames, {bins});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        weight: Any = next(self.backbone.parameters())
        longer = torch.zeros(input_features.shape[0], 1, dtype=torch.bool, device=input_features.device)
        grid_CDFT: Tensor = self.backbone(input_features.to(weight.dtype), is_longer=longer).last_hidden_state
        return grid_CDFT.mean(dim=2).transpose(1, 2)


@lru_cache(maxsize=8)
def _extractor(choices: str) -> ClapFeatureExtractor:
    """Make an extractor once for the same choices (JSON); its mel filters take a while."""
    return ClapFeatureExtractor(**json.loads(choices))
