"""Parakeet's encoder over speech and sound: a Fast Conformer, convolution and attention in every layer, 12.5 features a second (or 25).

Follows Rekesh et al., "Fast Conformer with Linearly Scalable Attention" (2023) and the hub cards nvidia/parakeet-ctc-*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ParakeetEncoder, ParakeetEncoderConfig, ParakeetForCTC
from transformers import initialization as init

from unifusion.conversation import Clip
from unifusion.encoders._hub import backbone_config, build_backbone, load_pretrained, read_config, resolve_backbone
from unifusion.encoders._sound import HOP_SAMPLES, SAMPLING_RATE_HZ, hold_whole_tokens, log_mel, mono, normalised
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError

__all__ = ["Parakeet"]


class _Backbone(ParakeetEncoder):
    """ParakeetEncoder that keeps the frequencies of its relative positions inside another model's from_pretrained.

    They are a buffer that no file holds; transformers 5.23 sets it for a whole Parakeet model only.
    """

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise one module; the position encoding to its frequencies."""
        super()._init_weights(module)
        if module is self.encode_positions:
            init.copy_(module.inv_freq, module.compute_default_relative_positional_parameters(self.config))


class Parakeet(Encoder):
    """Log-mel pictures of the sound through a Fast Conformer.

    The sound is cut into chunks of `chunk_s`, each normalised by itself; the network is told where the sound ends, so what it gives for
    a chunk does not depend on the padding. A token stands for `subsampling_factor` x 10 ms.
    """

    @dataclass(kw_only=True)
    class Config(Encoder.Config):
        """`source` (such as nvidia/parakeet-ctc-0.6b) or an inline `backbone` of ParakeetEncoderConfig keys.

        A small one: `{"hidden_size": 192, "num_hidden_layers": 4, "num_attention_heads": 6, "intermediate_size": 512,
        "subsampling_conv_channels": 64, "subsampling_factor": 4}`.
        """

        chunk_s: float = 30.0
        """Length of a chunk; must hold a whole number of tokens."""
        normalise: tuple[float, float] | None = None
        """Mean and deviation of all log-mels, which keeps levels and steady noise; None: of each bin over the chunk, as published."""

    modality = "audio"

    @classmethod
    def tiny(cls) -> Config:
        """Half a second a chunk, 16 mels, width 16, one layer, 25 tokens a second."""
        return cls.Config(
            chunk_s=0.52,
            backbone={
                "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32,
                "num_mel_bins": 16, "subsampling_factor": 4, "subsampling_conv_channels": 8, "layerdrop": 0.0,
            },
        )  # fmt: skip

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with `backbone` filled in.

        Raises:
            ConfigError: `chunk_s` does not hold a whole number of tokens.
        """
        if config.source and not config.backbone:
            whole = read_config(config.source, config.revision, ParakeetEncoderConfig)
            config = replace(config, backbone=whole.get("encoder_config", whole))
        resolved: Parakeet.Config = resolve_backbone(config, ParakeetEncoderConfig)
        hold_whole_tokens(resolved.chunk_s, resolved.backbone["subsampling_factor"] * HOP_SAMPLES / SAMPLING_RATE_HZ)
        return replace(resolved, normalise=tuple(resolved.normalise) if resolved.normalise else None)  # type: ignore[arg-type]

    @classmethod
    def rate_hz(cls, config: Config) -> float:
        """Samples per second."""
        del config
        return float(SAMPLING_RATE_HZ)

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the network; of a published checkpoint with a CTC head, the encoder."""
        if not (load_weights and config.source):
            return build_backbone(_Backbone, config, ParakeetEncoderConfig)
        if "encoder_config" in read_config(config.source, config.revision, ParakeetEncoderConfig):
            return load_pretrained(ParakeetForCTC, config, needed="encoder.").get_submodule("encoder")
        return load_pretrained(ParakeetEncoder, config)

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Cut the waveform into chunks and take each one's log-mel picture.

        Returns:
            EncoderInput with `input_features` (C, n_mels, frames) and `real` (C, frames), 1.0 where a frame lies in the sound. Token i
            covers [i, i + 1) tokens' length after `clip.waveform_start_s`; its time is the centre.

        Raises:
            MediaError: no sound, not at 16 kHz, or less than 20 ms of it.
        """
        shape = backbone_config(config, ParakeetEncoderConfig)
        waveform_N = mono(clip, least=2 * HOP_SAMPLES)
        per_token = int(shape.subsampling_factor) * HOP_SAMPLES
        chunk_samples = round(config.chunk_s * SAMPLING_RATE_HZ)
        n_samples, per_chunk = len(waveform_N), chunk_samples // per_token
        n_chunks = -(-n_samples // chunk_samples)
        samples_C = torch.tensor([min(chunk_samples, n_samples - i * chunk_samples) for i in range(n_chunks)])
        padded_CN = torch.nn.functional.pad(waveform_N, (0, n_chunks * chunk_samples - n_samples)).view(n_chunks, chunk_samples)
        frames_C = (samples_C // HOP_SAMPLES).clamp(min=1)
        real_CT = torch.arange(chunk_samples // HOP_SAMPLES) < frames_C[:, None]
        mels_CFT = log_mel(padded_CN, samples_C, int(shape.num_mel_bins))
        index_S = torch.arange(n_chunks * per_chunk)
        return EncoderInput(
            tensors={"input_features": normalised(mels_CFT, real_CT, config.normalise), "real": real_CT.float()},
            times_S=(clip.waveform_start_s + (index_S.double() + 0.5) * per_token / SAMPLING_RATE_HZ).float(),
            mask_S=_told(frames_C, per_chunk, int(shape.subsampling_factor)),
            seconds=n_samples / SAMPLING_RATE_HZ,
            samples=n_samples,
        )

    def encode_chunks(self, input_features: Tensor, real: Tensor) -> Tensor:
        """Map input_features (C, n_mels, frames) and real (C, frames) to tokens (C, tokens per chunk, D).

        Raises:
            ConfigError: another number of mels or frames than a chunk has.
        """
        wanted = (self.config.backbone["num_mel_bins"], round(self.config.chunk_s * SAMPLING_RATE_HZ) // HOP_SAMPLES)
        if tuple(input_features.shape[1:]) != wanted:
            raise ConfigError(
                f"input_features are (C, mels, frames) = {tuple(input_features.shape)}, wanted (C, {wanted[0]}, {wanted[1]});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        weight: Any = next(self.backbone.parameters())
        out = self.backbone(input_features.transpose(1, 2).to(weight.dtype), attention_mask=real > 0.5)
        tokens_CSD: Tensor = out.last_hidden_state
        return tokens_CSD


def _told(frames_C: Tensor, per_chunk: int, factor: int) -> Tensor:
    """Which of all chunks' tokens lie in the sound, flat: each halving of the frames rounds up."""
    tokens_C = frames_C
    for _ in range(factor.bit_length() - 1):
        tokens_C = (tokens_C + 1) // 2
    return (torch.arange(per_chunk) < tokens_C[:, None]).flatten()
