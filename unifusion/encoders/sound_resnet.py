"""A residual convolutional network over two pictures of the sound: mels, fine in time, and tones, fine in pitch.

After He et al., "Deep Residual Learning for Image Recognition" (2016), with strides of their own for pitch and time as small keyword
spotters have them (Tang and Lin, "Deep Residual Learning for Small-Footprint Keyword Spotting", 2018). From nothing and on a few
thousand clips it learns words that a Fast Conformer of three times its size does not (docs/tiny.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.models.resnet.modeling_resnet import ResNetBasicLayer, ResNetConvLayer

from unifusion.conversation import Clip
from unifusion.encoders._hub import backbone_config, build_backbone, load_pretrained, resolve_backbone
from unifusion.encoders._sound import HOP_SAMPLES, SAMPLING_RATE_HZ, hold_whole_tokens, log_mel, mono
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError

__all__ = ["SoundResNet"]

TOKEN_SAMPLES = 4 * HOP_SAMPLES
"""One token stands for 40 ms."""
TONE_FFT_SAMPLES = 4096
TONE_GUARD = 1e-8
SHAPE = {
    "n_mels": 80, "n_tones": 96, "lowest_hz": 100.0, "tones_per_octave": 24, "channels": [32, 64, 128], "tone_channels": 32,
    "hidden_size": 192, "context_layers": 4, "context_frames": 9, "context_groups": 4,
}  # fmt: skip
"""Of 1.3 million weights: bins of both pictures, channels of the residual stages, and the convolutions over time behind them."""


class _Config(PreTrainedConfig):
    """Shape of the network."""

    model_type = "sound_resnet"

    def __init__(self, **kwargs: Any) -> None:
        for key, value in SHAPE.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)


class _Context(nn.Module):
    """A residual convolution over time (M, D, S); every second one reaches further."""

    def __init__(self, config: _Config, number: int) -> None:
        super().__init__()
        width, frames, step = config.hidden_size, config.context_frames, 1 + number // 2
        self.convolution = nn.Conv1d(
            width, width, frames, padding=frames // 2 * step, dilation=step, groups=config.context_groups, bias=False
        )
        self.normalization = nn.BatchNorm1d(width)

    def forward(self, x_MDS: Tensor) -> Tensor:
        """Add what the neighbours say."""
        return x_MDS + torch.relu(self.normalization(self.convolution(x_MDS)))


class _Backbone(PreTrainedModel):
    """Mels (M, n_mels, 4 S) and tones (M, n_tones, S) to tokens (M, S, D)."""

    config_class = _Config
    main_input_name = "mels"
    base_model_prefix = "sound_resnet"

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        first, second, last = config.channels
        self.mels = nn.Sequential(
            ResNetConvLayer(1, first, stride=2),
            ResNetBasicLayer(first, first),
            ResNetBasicLayer(first, second, stride=2),
            ResNetBasicLayer(second, second),
            ResNetBasicLayer(second, last, stride=(2, 1)),
            ResNetBasicLayer(last, last, stride=(2, 1)),
        )
        few = config.tone_channels
        self.tones = nn.Sequential(
            ResNetConvLayer(1, few, stride=(2, 1)),
            ResNetBasicLayer(few, few, stride=(2, 1)),
            ResNetBasicLayer(few, few, stride=(2, 1)),
        )
        heights = last * _halved(config.n_mels, 4) + few * _halved(config.n_tones, 3)
        self.together = nn.Linear(heights, config.hidden_size)
        self.context = nn.Sequential(*(_Context(config, i) for i in range(config.context_layers)))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """He's normal for convolutions; the rest as in PyTorch."""
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            for name, value in (("running_mean", 0.0), ("running_var", 1.0), ("num_batches_tracked", 0)):
                init.constant_(getattr(module, name), value)

    def forward(self, mels: Tensor, tones: Tensor) -> Tensor:
        """Return tokens (M, S, D)."""
        seen = [part(x[:, None]).flatten(1, 2) for part, x in ((self.mels, mels), (self.tones, tones))]
        flat_MSH = torch.cat(seen, dim=1).transpose(1, 2)
        tokens_MSD: Tensor = self.context(self.together(flat_MSH).transpose(1, 2)).transpose(1, 2)
        return tokens_MSD


class SoundResNet(Encoder):
    """25 tokens a second from log-mels (25 ms windows) and tones of equal temper (256 ms windows, half a semitone apart).

    The sound is cut into chunks of `chunk_s`, the last one filled with silence: a clip gives the same whatever it is batched with, and
    the network hears after the end what it hears in any pause.
    """

    @dataclass(kw_only=True)
    class Config(Encoder.Config):
        """`source` (a folder with its weights) or an inline `backbone`."""

        chunk_s: float = 6.0
        """Length of a chunk; must hold a whole number of tokens of 40 ms."""
        mel_scale: tuple[float, float] = (-13.0, 5.0)
        """Mean and deviation of log-mels."""
        tone_scale: tuple[float, float] = (-15.0, 4.0)
        """Mean and deviation of log-tones."""

    modality = "audio"
    preprocessing = 2

    @classmethod
    def tiny(cls) -> Config:
        """Half a second a chunk, 16 mels and tones, width 16."""
        shape = {"n_mels": 16, "n_tones": 16, "channels": [4, 8, 8], "tone_channels": 4, "hidden_size": 16, "context_layers": 1}
        return cls.Config(chunk_s=0.52, backbone=shape)

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with `backbone` complete.

        Raises:
            ConfigError: `chunk_s` does not hold a whole number of tokens.
        """
        resolved: SoundResNet.Config = resolve_backbone(config, _Config)
        hold_whole_tokens(resolved.chunk_s, TOKEN_SAMPLES / SAMPLING_RATE_HZ)
        return replace(resolved, mel_scale=tuple(resolved.mel_scale), tone_scale=tuple(resolved.tone_scale))  # type: ignore[arg-type]

    @classmethod
    def rate_hz(cls, config: Config) -> float:
        """Samples per second."""
        del config
        return float(SAMPLING_RATE_HZ)

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the network."""
        if load_weights and config.source:
            return load_pretrained(_Backbone, config)
        return build_backbone(_Backbone, config, _Config)

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Cut the waveform into chunks and take each one's two pictures.

        Returns:
            EncoderInput with `mels` (C, n_mels, 4 S) and `tones` (C, n_tones, S). Token i covers 40 ms from i x 40 ms after
            `clip.waveform_start_s`; its time is the centre.

        Raises:
            MediaError: no sound, not at 16 kHz, or less than 20 ms of it.
        """
        shape = backbone_config(config, _Config)
        waveform_N = mono(clip, least=2 * HOP_SAMPLES)
        chunk_samples = round(config.chunk_s * SAMPLING_RATE_HZ)
        n_samples = len(waveform_N)
        n_chunks = -(-n_samples // chunk_samples)
        samples_C = torch.tensor([min(chunk_samples, n_samples - i * chunk_samples) for i in range(n_chunks)])
        padded_CN = torch.nn.functional.pad(waveform_N, (0, n_chunks * chunk_samples - n_samples)).view(n_chunks, chunk_samples)
        real_CS = torch.arange(chunk_samples // TOKEN_SAMPLES) < -(-samples_C // TOKEN_SAMPLES)[:, None]
        mels_CFT = log_mel(padded_CN, torch.full_like(samples_C, chunk_samples), shape.n_mels)
        tones_CFS = log_tones(padded_CN, shape.n_tones, shape.lowest_hz, shape.tones_per_octave)
        index_S = torch.arange(real_CS.numel())
        return EncoderInput(
            tensors={
                "mels": (mels_CFT - config.mel_scale[0]) / config.mel_scale[1],
                "tones": (tones_CFS - config.tone_scale[0]) / config.tone_scale[1],
            },
            times_S=(clip.waveform_start_s + (index_S.double() + 0.5) * TOKEN_SAMPLES / SAMPLING_RATE_HZ).float(),
            mask_S=real_CS.flatten(),
            seconds=n_samples / SAMPLING_RATE_HZ,
            samples=n_samples,
        )

    def encode_chunks(self, mels: Tensor, tones: Tensor) -> Tensor:
        """Map mels (C, n_mels, 4 S) and tones (C, n_tones, S) to tokens (C, S, D).

        Raises:
            ConfigError: another number of bins or frames than a chunk has.
        """
        per_chunk = round(self.config.chunk_s * SAMPLING_RATE_HZ) // TOKEN_SAMPLES
        wanted = ((self.config.backbone["n_mels"], 4 * per_chunk), (self.config.backbone["n_tones"], per_chunk))
        given = (tuple(mels.shape[1:]), tuple(tones.shape[1:]))
        if given != wanted:
            raise ConfigError(
                f"mels and tones have (bins, frames) {given}, wanted {wanted};", remedy="prepare them with this encoder's own preprocess."
            )
        weight: Any = next(self.backbone.parameters())
        tokens_CSD: Tensor = self.backbone(mels.to(weight.dtype), tones.to(weight.dtype))
        return tokens_CSD


def _halved(bins: int, times: int) -> int:
    """Bins left after so many strides of two."""
    for _ in range(times):
        bins = (bins + 1) // 2
    return bins


@lru_cache(maxsize=4)
def _tone_filters(n_tones: int, lowest_hz: float, per_octave: int) -> Tensor:
    """Triangles (n_tones, bins) around tones of equal temper, each as wide as its neighbours are far, and a bin at the least."""
    bin_hz = SAMPLING_RATE_HZ / TONE_FFT_SAMPLES
    edges = lowest_hz * 2.0 ** ((torch.arange(-1, n_tones + 1).double()) / per_octave)
    hz = torch.arange(TONE_FFT_SAMPLES // 2 + 1).double() * bin_hz
    centre = edges[1:-1, None]
    below, above = (centre - edges[:-2, None]).clamp(min=bin_hz), (edges[2:, None] - centre).clamp(min=bin_hz)
    filters = torch.minimum((hz - centre) / below + 1, (centre - hz) / above + 1).clamp(min=0)
    return (filters / filters.sum(1, keepdim=True)).float()


@lru_cache(maxsize=1)
def _tone_window() -> Tensor:
    return torch.hann_window(TONE_FFT_SAMPLES)


def log_tones(waveform_CN: Tensor, n_tones: int, lowest_hz: float, per_octave: int) -> Tensor:
    """Return natural logarithms of the mean power around each tone (C, n_tones, N / 640).

    Args:
        waveform_CN: at 16 kHz, padded with zeros to whole tokens.
        n_tones: tones, upwards.
        lowest_hz: the first tone.
        per_octave: tones an octave.
    """
    window = _tone_window()
    side = (TONE_FFT_SAMPLES - TOKEN_SAMPLES) // 2
    frames_CSL = torch.nn.functional.pad(waveform_CN, (side, side)).unfold(1, TONE_FFT_SAMPLES, TOKEN_SAMPLES)
    power_CSF = torch.fft.rfft(frames_CSL * (2.0 / window.sum()) * window).abs().square()
    tones_CFS: Tensor = (_tone_filters(n_tones, lowest_hz, per_octave) @ power_CSF.transpose(1, 2) + TONE_GUARD).log()
    return tones_CFS
