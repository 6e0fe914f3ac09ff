"""Networks that hear the waveform itself (HuBERT, wav2vec 2.0, WavLM): chunks, lengths and layers. Written once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor
from transformers import initialization as init

from unifusion.conversation import Clip
from unifusion.encoders._hub import build_backbone, hold_layer, load_pretrained, preprocessing_of, resolve_backbone
from unifusion.encoders._sound import SAMPLING_RATE_HZ, mono
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError

__all__ = ["PositionsSet", "WaveConfig", "WaveEncoder", "tiny_wave"]

UNUSED = {"layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "add_adapter": False}
"""What is for training these networks alone, or makes their features sparser behind them."""


def tiny_wave() -> dict[str, Any]:
    """A backbone of width 16 and two layers that gives a token each 20 ms."""
    return {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": [8, 8, 8],
        "conv_kernel": [20, 4, 4], "conv_stride": [20, 4, 4], "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    }  # fmt: skip


@dataclass(kw_only=True)
class WaveConfig(Encoder.Config):
    """How sound is cut and prepared, and which states are kept."""

    chunk_s: float = 30.0
    """Longest piece the network hears at once; longer sound is cut into several."""
    normalise: bool | None = None
    """Scale each piece to mean 0 and variance 1. None: as the source's preprocessor_config.json says, else yes."""
    layer: int = -1
    """Whose states are the tokens, counted as `hidden_states` are in transformers: -1 the last. Layers above are not kept."""


class PositionsSet:
    """Beside a model class: its convolution of positions set where a file lacks it.

    transformers 5.23 initialises the product of the weight normalisation instead of its factors, which has no effect.
    """

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise one module; the direction of that convolution at random, and its length to the direction's."""
        super()._init_weights(module)  # type: ignore[misc]
        factors = getattr(getattr(module, "parametrizations", None), "weight", None)
        if factors is not None and isinstance(module, nn.Conv1d):
            init.normal_(factors.original1, std=2 * (module.kernel_size[0] * module.in_channels) ** -0.5)
            init.copy_(factors.original0, factors.original1.norm(dim=(0, 1), keepdim=True))
            init.zeros_(module.bias)


class WaveEncoder(Encoder):
    """Sound at 16 kHz through a convolutional front and a transformer, 50 tokens a second.

    A piece is given to the network at its own length, without padding, so that what it tells is what the published model tells of the
    same samples; pieces of equal length go together. A last piece shorter than one token is not heard.
    """

    modality = "audio"
    config_class: ClassVar[Any]
    """Of transformers, whose keys `backbone` holds."""
    model_class: ClassVar[Any]
    """Of transformers."""
    built_class: ClassVar[Any]
    """The same with PositionsSet, for random weights."""
    Config = WaveConfig

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with nothing left open.

        Raises:
            CheckpointError: the source has no readable config.
            ConfigError: a layer the network has not, or a chunk shorter than a token.
        """
        resolved: WaveConfig = resolve_backbone(config, cls.config_class)
        known = {k: v for k, v in UNUSED.items() if k in resolved.backbone}
        resolved = replace(resolved, backbone={**resolved.backbone, **known})
        hold_layer(resolved.layer, int(resolved.backbone["num_hidden_layers"]))
        least = _least(resolved.backbone) / SAMPLING_RATE_HZ
        if resolved.chunk_s < least:
            raise ConfigError(f"a chunk of {resolved.chunk_s} s holds no token;", remedy=f"set chunk_s to {least:g} or more.")
        if resolved.normalise is None:
            told = preprocessing_of(Wav2Vec2FeatureExtractor.get_feature_extractor_dict, resolved.source, resolved.revision)
            resolved = replace(resolved, normalise=bool(told.get("do_normalize", True)))
        return resolved

    @classmethod
    def rate_hz(cls, config: Any) -> float:
        """Samples per second."""
        del config
        return float(SAMPLING_RATE_HZ)

    @classmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the network up to the layer whose states are wanted; heads of a published checkpoint are not read."""
        if load_weights and config.source:
            options = {"config": cls.config_class.from_dict(dict(config.backbone))}
            network = load_pretrained(cls.model_class, config, options=options)
        else:
            network = build_backbone(cls.built_class, config, cls.config_class)
        if config.layer != -1:
            layers: Any = network.get_submodule("encoder.layers")
            del layers[len(layers) + 1 + config.layer :]
            if config.backbone["do_stable_layer_norm"]:  # its last normalisation lies behind the layers, not before them
                network.set_submodule("encoder.layer_norm", nn.Identity())
        return network

    @classmethod
    def preprocess(cls, config: Any, clip: Clip) -> EncoderInput:
        """Cut the waveform into pieces and normalise each.

        Returns:
            EncoderInput with `waveform` (C, samples of a chunk), padded with zeros, and `samples` (C,) int64, the real ones. A token's time
            is the middle of the samples it hears.

        Raises:
            MediaError: no sound, not at 16 kHz, or less than one token of it (25 ms).
        """
        shape = config.backbone
        waveform_N = mono(clip, least=_least(shape))
        n_samples, chunk = len(waveform_N), round(config.chunk_s * SAMPLING_RATE_HZ)
        pieces = [p for p in waveform_N.split(chunk) if len(p) >= _least(shape)]
        if config.normalise:
            pieces = [(p - p.mean()) / (p.var(correction=0) + 1e-7).sqrt() for p in pieces]
        padded_CN = torch.stack([torch.nn.functional.pad(p, (0, chunk - len(p))) for p in pieces])
        samples_C = torch.tensor([len(p) for p in pieces])
        hop, told_C = _hop(shape), _tokens(samples_C, shape)
        index_Q = torch.arange(int(_tokens(torch.tensor(chunk), shape)))
        starts_C = torch.arange(len(pieces)) * chunk
        centres_CQ = starts_C[:, None] + index_Q * hop + _least(shape) / 2
        return EncoderInput(
            tensors={"waveform": padded_CN, "samples": samples_C},
            times_S=(clip.waveform_start_s + centres_CQ.double() / SAMPLING_RATE_HZ).float().flatten(),
            mask_S=(index_Q < told_C[:, None]).flatten(),
            seconds=min(n_samples, int(starts_C[-1] + samples_C[-1])) / SAMPLING_RATE_HZ,
            samples=int(samples_C.sum()),
        )

    def encode_chunks(self, waveform: Tensor, samples: Tensor) -> Tensor:
        """Map waveform (C, N) and samples (C,) to tokens (C, tokens of a whole chunk, D), zero behind the last real one.

        Raises:
            ConfigError: another length than a chunk has.
        """
        wanted = round(self.config.chunk_s * SAMPLING_RATE_HZ)
        if waveform.shape[1:] != (wanted,):
            raise ConfigError(
                f"waveform is {tuple(waveform.shape)}, wanted (C, {wanted});", remedy="prepare it with this encoder's own preprocess."
            )
        dtype = next(self.backbone.parameters()).dtype
        out_CSD = waveform.new_zeros(len(waveform), int(_tokens(torch.tensor(wanted), self.config.backbone)), self.width, dtype=dtype)
        for length in sorted({int(n) for n in samples.tolist()}):
            rows = samples == length
            tokens = self.backbone(waveform[rows, :length].to(dtype)).last_hidden_state
            out_CSD[rows, : tokens.shape[1]] = tokens.to(dtype)  # autocast gives its own type
        return out_CSD

    def encode_traced(self, **tensors: Tensor) -> Tensor:
        """The same with all lengths at once, (C, N) and (C,) to (C, S, D).

        A real token hears what it hears of a piece without padding: that is left out of attention, and of the one normalisation over time
        that some of these networks begin with.
        """
        network: Any = self.backbone
        x_CDS = tensors["waveform"][:, None].to(next(network.parameters()).dtype)
        # A chunk of nothing has a token: attention to none is NaN, and int8 scales all clips of a batch by the largest number among them.
        real_C = tensors["samples"].clamp(min=_least(self.config.backbone))
        for layer, kernel, stride in zip(
            network.feature_extractor.conv_layers, self.config.backbone["conv_kernel"], self.config.backbone["conv_stride"], strict=True
        ):
            real_C = (real_C - kernel) // stride + 1
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm):
                convolved = layer.conv(x_CDS)
                x_CDS = layer.activation(_normed(convolved, _first(convolved, real_C), norm))
            else:
                x_CDS = layer(x_CDS)
        found = network.feature_projection(x_CDS.transpose(1, 2))
        states_CSD = found[0] if isinstance(found, tuple) else found
        mask_CS = _first(states_CSD.transpose(1, 2), real_C)
        tokens_CSD: Tensor = network.encoder(states_CSD * mask_CS[..., None], attention_mask=mask_CS).last_hidden_state
        return tokens_CSD


def _first(x_CDS: Tensor, count_C: Tensor) -> Tensor:
    """Mask (C, S) of the first so many of each row."""
    return torch.arange(x_CDS.shape[2], device=x_CDS.device) < count_C[:, None]


def _normed(x_CDS: Tensor, mask_CS: Tensor, norm: nn.GroupNorm) -> Tensor:
    """A GroupNorm of a channel a group over the masked places of (C, D, S) alone."""
    mask_C1S = mask_CS[:, None].to(x_CDS.dtype)
    count_C11 = mask_C1S.sum(dim=2, keepdim=True).clamp(min=1)
    away_CDS = x_CDS - (x_CDS * mask_C1S).sum(dim=2, keepdim=True) / count_C11
    variance_CD1 = (away_CDS.square() * mask_C1S).sum(dim=2, keepdim=True) / count_C11
    return away_CDS * (variance_CD1 + norm.eps).rsqrt() * norm.weight[:, None] + norm.bias[:, None]


def _hop(shape: dict[str, Any]) -> int:
    """Samples between two tokens."""
    return int(torch.tensor(shape["conv_stride"]).prod())


def _least(shape: dict[str, Any]) -> int:
    """Samples that one token hears."""
    heard, step = 1, 1
    for kernel, stride in zip(shape["conv_kernel"], shape["conv_stride"], strict=True):
        heard, step = heard + (kernel - 1) * step, step * stride
    return heard


def _tokens(samples: Tensor, shape: dict[str, Any]) -> Tensor:
    """Tokens the convolutions make of so many samples."""
    for kernel, stride in zip(shape["conv_kernel"], shape["conv_stride"], strict=True):
        samples = (samples - kernel) // stride + 1
    return samples
