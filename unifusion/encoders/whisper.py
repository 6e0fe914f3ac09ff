"""Whisper's encoder over speech and sound: 50 features a second, without the padding it is always fed.

Follows Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022) and the hub cards openai/whisper-*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperModel
from transformers import initialization as init
from transformers.models.whisper.modeling_whisper import WhisperEncoder, sinusoids

from unifusion.conversation import Clip
from unifusion.encoders._hub import backbone_config, build_backbone, fill, load_pretrained, read_pickle, resolve_backbone
from unifusion.encoders._sound import SAMPLING_RATE_HZ, mel_filters, mono
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import CheckpointError, ConfigError

__all__ = ["Whisper"]

FFT_SAMPLES = 400
HOP_SAMPLES = 160
SAMPLES_PER_TOKEN = 2 * HOP_SAMPLES
"""The second convolution halves the mel frames: 20 ms a token, 50 tokens a second."""
TOKENS_PER_S = SAMPLING_RATE_HZ / SAMPLES_PER_TOKEN
OPENAI_NAMES = (
    ("encoder.", ""), ("blocks.", "layers."), (".attn.query.", ".self_attn.q_proj."), (".attn.key.", ".self_attn.k_proj."),
    (".attn.value.", ".self_attn.v_proj."), (".attn.out.", ".self_attn.out_proj."), (".attn_ln.", ".self_attn_layer_norm."),
    (".mlp.0.", ".fc1."), (".mlp.2.", ".fc2."), (".mlp_ln.", ".final_layer_norm."), ("ln_post.", "layer_norm."),
    ("positional_embedding", "embed_positions.weight"),
)  # fmt: skip
"""Names of weights in files of the `whisper` package, and here."""


class _Backbone(WhisperEncoder):
    """WhisperEncoder that keeps its fixed positions inside another model's from_pretrained.

    transformers 5.23 sets them when it initialises the whole encoder, a step it skips below a model that is not its own (it takes
    a module without direct weights for done): where the file lacks them they came up as noise of deviation 0.02.
    """

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise one module; the position table to its sines."""
        super()._init_weights(module)
        if module is self.embed_positions:
            init.copy_(module.weight, sinusoids(*module.weight.shape))


class Whisper(Encoder):
    """Log-mel pictures of the sound through Whisper's encoder.

    The chunk is as long as the network has positions (`max_source_positions` / 50 seconds: 30 s for hub weights, less for a
    small inline one). Longer sound becomes several chunks, each normalised by itself as published. The network always
    sees a full chunk, zeros after the end included; the mask keeps exactly ceil(50 x seconds) tokens.
    """

    @dataclass(kw_only=True)
    class Config(Encoder.Config):
        """`source` (such as openai/whisper-small, or a `.pt` file of the `whisper` package) or an inline `backbone` of WhisperConfig keys.

        A small one: `{"d_model": 192, "encoder_layers": 4, "encoder_attention_heads": 4, "encoder_ffn_dim": 768,
        "num_mel_bins": 80, "max_source_positions": 300}` takes chunks of 6 s. Decoder keys are not used.
        """

    modality = "audio"

    @classmethod
    def tiny(cls) -> Config:
        """Half a second a chunk, 16 mels, width 16, one layer."""
        return cls.Config(
            backbone={
                "d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
                "num_mel_bins": 16, "max_source_positions": 25,
            }
        )  # fmt: skip

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["d_model"])

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with `backbone` filled in from the source's config.json, or the sizes in its `.pt` file."""
        if config.source and not config.backbone and Path(config.source).suffix == ".pt":
            config = replace(config, backbone=_sizes(config.source))
        resolved: Whisper.Config = resolve_backbone(config, WhisperConfig)
        return resolved

    @classmethod
    def rate_hz(cls, config: Config) -> float:
        """Samples per second."""
        del config
        return float(SAMPLING_RATE_HZ)

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the encoder half; a published checkpoint holds both halves, one of `WhisperEncoder.save_pretrained` only this."""
        if not (load_weights and config.source):
            return build_backbone(_Backbone, config, WhisperConfig)
        if Path(config.source).suffix == ".pt":
            return fill(build_backbone(_Backbone, config, WhisperConfig), _renamed(config.source), config.source)
        if "WhisperEncoder" in (config.backbone.get("architectures") or ()):
            return load_pretrained(WhisperEncoder, config)
        return load_pretrained(WhisperModel, config, needed="encoder.").get_submodule("encoder")

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Cut the waveform into chunks and take each one's log-mel picture.

        Returns:
            EncoderInput with `input_features` (C, n_mels, 2 x max_source_positions). Token i of the sound covers
            [i, i + 1) / 50 s after `clip.waveform_start_s`; its time is the centre.

        Raises:
            MediaError: no sound, not at 16 kHz, or less than 20 ms of it.
        """
        waveform_N = mono(clip, least=SAMPLES_PER_TOKEN)
        shape = backbone_config(config, WhisperConfig)
        per_chunk = int(shape.max_source_positions)
        chunk_samples = per_chunk * SAMPLES_PER_TOKEN
        n_samples = len(waveform_N)
        n_chunks = -(-n_samples // chunk_samples)
        padded_CN = torch.nn.functional.pad(waveform_N, (0, n_chunks * chunk_samples - n_samples)).view(n_chunks, chunk_samples)
        index_S = torch.arange(n_chunks * per_chunk)
        return EncoderInput(
            tensors={"input_features": log_mel(padded_CN, int(shape.num_mel_bins))},
            times_S=(clip.waveform_start_s + (index_S.double() + 0.5) / TOKENS_PER_S).float(),
            mask_S=index_S < -(-n_samples // SAMPLES_PER_TOKEN),
            seconds=n_samples / SAMPLING_RATE_HZ,
            samples=n_samples,
        )

    def encode_chunks(self, input_features: Tensor) -> Tensor:
        """Map input_features (C, n_mels, mel frames) to tokens (C, max_source_positions, D).

        Raises:
            ConfigError: another number of mels or frames than the network takes.
        """
        wanted = (self.config.backbone["num_mel_bins"], 2 * self.config.backbone["max_source_positions"])
        if tuple(input_features.shape[1:]) != wanted:
            raise ConfigError(
                f"input_features are (C, mels, frames) = {tuple(input_features.shape)}, wanted (C, {wanted[0]}, {wanted[1]});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        tokens_CSD: Tensor = self.backbone(input_features.to(self.backbone.conv1.weight.dtype)).last_hidden_state  # type: ignore[union-attr,arg-type]
        return tokens_CSD


def log_mel(waveform_CN: Tensor, n_mels: int) -> Tensor:
    """Return Whisper's log-mel pictures (C, n_mels, N / 160) of waveforms (C, N) at 16 kHz.

    log10 of mel power, floored 8 below the loudest bin of the same chunk, then (x + 4) / 4.
    """
    spectrum: Any = torch.stft(waveform_CN, FFT_SAMPLES, HOP_SAMPLES, window=torch.hann_window(FFT_SAMPLES), return_complex=True)
    power = spectrum[..., :-1].abs().square().contiguous()
    logs = (mel_filters(n_mels, FFT_SAMPLES) @ power).clamp(min=1e-10).log10()
    return (torch.maximum(logs, logs.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def _sizes(source: str) -> dict[str, Any]:
    """The network's shape as a file of the `whisper` package tells it.

    Raises:
        CheckpointError: it is no such file.
    """
    dims: Any = read_pickle(source).get("dims")
    try:
        return {
            "d_model": dims["n_audio_state"], "encoder_layers": dims["n_audio_layer"], "encoder_attention_heads": dims["n_audio_head"],
            "encoder_ffn_dim": 4 * dims["n_audio_state"], "num_mel_bins": dims["n_mels"], "max_source_positions": dims["n_audio_ctx"],
        }  # fmt: skip
    except (TypeError, KeyError) as error:
        raise CheckpointError(
            f"{source!r} is no file of the whisper package: it has no sizes under `dims`;",
            remedy="give a hub name, a folder, or such a file.",
        ) from error


def _renamed(source: str) -> dict[str, Tensor]:
    """The encoder's weights of a file of the `whisper` package, by the names they have here."""
    renamed = {}
    for name, tensor in read_pickle(source).get("model_state_dict", {}).items():
        if name.startswith("encoder."):
            for theirs, ours in OPENAI_NAMES:
                name = name.replace(theirs, ours)
            renamed[name] = tensor
    return renamed
