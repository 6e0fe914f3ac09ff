"""Hand-made measures of sound as an encoder: mels, MFCC, level, spectrum, pitch, onsets and the clip's rhythm, melody and loudness.

In kind, not in number, they are those of eGeMAPS (Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for Voice
Research and Affective Computing", 2016), measured by librosa; nothing is learnt but how a column is scaled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from unifusion.conversation import Clip
from unifusion.encoders._acoustic import COLUMNS, FFT, GROUPS, HOP, HOP_S, measure
from unifusion.encoders._acoustic_norms import MEAN, SD
from unifusion.encoders._hub import backbone_config, build_backbone, load_pretrained, resolve_backbone
from unifusion.encoders._sound import SAMPLING_RATE_HZ, hold_whole_tokens, mono
from unifusion.encoders.encoder import Encoder, EncoderInput
from unifusion.errors import ConfigError, nearest

__all__ = ["AcousticFeatures"]

_FARTHEST = 10.0
"""Deviations from the mean at which a column is held: the slope of a melody of a few frames may be anything."""


class _Config(PreTrainedConfig):
    """Which columns."""

    model_type = "acoustic_features"

    def __init__(self, **kwargs: Any) -> None:
        self.groups = list(kwargs.pop("groups", GROUPS))
        super().__init__(**kwargs)


class _Backbone(PreTrainedModel):
    """Scales columns: by fixed means and deviations, and by a factor and an offset each, 1 and 0 unless the encoder is trained."""

    config_class = _Config
    main_input_name = "columns"
    base_model_prefix = "acoustic_features"

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        width = len(_table(config.groups, MEAN))
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.tensor(_table(config.groups, MEAN)))
        self.register_buffer("sd", torch.tensor(_table(config.groups, SD)))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Set what a file lacks: the fixed table, no further scaling."""
        if module is self:
            init.ones_(self.weight)
            init.zeros_(self.bias)
            init.copy_(self.mean, torch.tensor(_table(self.config.groups, MEAN)))
            init.copy_(self.sd, torch.tensor(_table(self.config.groups, SD)))

    def forward(self, columns: Tensor, known: Tensor) -> Tensor:
        """Return scaled columns (M, S, D); what is not known is at its mean."""
        scaled_MSD: Tensor = ((columns - self.mean) / self.sd).clamp(-_FARTHEST, _FARTHEST) * known * self.weight + self.bias
        return scaled_MSD


class AcousticFeatures(Encoder):
    """50 tokens a second (each the mean of two frames, one a 10 ms) of 146 columns, all scaled to mean 0 and deviation 1 over speech.

    | group | columns | unit |
    |---|---|---|
    | `mel` | `mel_00_db` .. `mel_63_db`: power in 64 mel bands up to 8 kHz, at most 80 below the clip's loudest | dB of 1 |
    | `mfcc` | `mfcc_00` .. `mfcc_19` of those mels, `mfcc_delta_..`, `mfcc_delta2_..` over 9 frames | dB, a frame, a frame squared |
    | `energy` | `rms_db` | dB of full scale, -100 of silence |
    | `spectrum` | `centroid_hz`, `rolloff_hz` (85 % of the spectrum's amplitude lies below), `zcr` | Hz, Hz, crossings a sample |
    | `pitch` | `f0_st` (65 to 500 Hz; of voiced frames), `periodicity`, `voiced` | semitones above 55 Hz, 0 to 1, share of frames |
    | `onset` | `onset`: mean rise of the mels since the frame before | dB |
    | `clip` | of the whole clip, the same at each token: | |
    | | `tempo_bpm`, `onset_rate_hz`, `speech_rate_hz` (syllable nuclei) | a minute, a second, a second |
    | | `pause_share` (25 dB below the loudest frame, or below -70 dB) | share of frames |
    | | `f0_mean_st`, `f0_sd_st`, `f0_range_st` (5 % to 95 %), `f0_slope_st_s` | semitones, a second |
    | | `voiced_share`, `jitter` (mean change of the period from frame to frame, as a part of it) | shares |
    | | `level_mean_db`, `level_sd_db`, `level_range_db` (5 % to 95 %), `level_slope_db_s`, of what is no pause | dB, a second |

    What cannot be measured (the pitch of a frame without voice, the tempo of silence) is at the column's mean, which is 0. Frames are
    32 ms, for pitch 64 ms; the first is centred on the first sample. A second of sound takes 8 to 14 ms on one core, the first clip of a
    process 2 s more. Needs the extra `acoustic` (librosa).
    """

    @dataclass(kw_only=True)
    class Config(Encoder.Config):
        """Nothing is needed. `backbone` may choose columns: `{"groups": ["pitch", "energy", "clip"]}`.

        `source` is a folder with means and deviations of its own (`fit_normalization`, then `encoder.backbone.save_pretrained(folder)`).
        """

        stride: int = 2
        """Frames of 10 ms that become one token, by their mean; the pitch by that of the voiced ones."""
        chunk_s: float = 2.0
        """Tokens travel in chunks of so many seconds, the last one filled up; what is measured is the whole clip."""

    modality = "audio"

    @classmethod
    def tiny(cls) -> Config:
        """All columns, half a second a chunk."""
        return cls.Config(chunk_s=0.5)

    @classmethod
    def columns(cls, config: Config | None = None) -> tuple[str, ...]:
        """Names of the features of `config` (as built without choices: all), in order; there are `width`."""
        resolved = cls.resolve(config or cls.Config())
        return tuple(name for group in resolved.backbone["groups"] for name in COLUMNS[group])

    @property
    def width(self) -> int:
        """D of the features."""
        return len(self.columns(self.config))

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with `backbone` complete.

        Raises:
            CheckpointError: the source has no readable config.
            ConfigError: an unknown group, no group, or a chunk that does not hold whole tokens.
        """
        if not config.source and not config.backbone:
            config = replace(config, backbone={"groups": list(GROUPS)})
        resolved: AcousticFeatures.Config = resolve_backbone(config, _Config)
        groups = resolved.backbone["groups"]
        unknown = [g for g in groups if g not in COLUMNS]
        if unknown or not groups or len(set(groups)) < len(groups):
            remedy = nearest(unknown[0], list(GROUPS)) if unknown else f"some of {', '.join(GROUPS)}, each once."
            raise ConfigError(f"groups of columns are {groups!r};", remedy=remedy)
        if resolved.stride < 1:
            raise ConfigError(f"stride is {resolved.stride!r};", remedy="give 1 or more frames a token.")
        hold_whole_tokens(resolved.chunk_s, resolved.stride * HOP_S)
        return resolved

    @classmethod
    def rate_hz(cls, config: Config) -> float:
        """Samples per second."""
        del config
        return float(SAMPLING_RATE_HZ)

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the scales: the source's, or those of the fixed table."""
        if load_weights and config.source:
            return load_pretrained(_Backbone, config)
        return build_backbone(_Backbone, config, _Config)

    @classmethod
    def preprocess(cls, config: Config, clip: Clip) -> EncoderInput:
        """Measure the sound.

        Returns:
            EncoderInput with `columns` (C, S, D) in the units of the table, and `known` (C, S, D), 0 where there was nothing to measure. A
            token's time is the middle of the centres of its frames.

        Raises:
            MediaError: no sound, not at 16 kHz, or less than a frame of it (32 ms).
            ConfigError: librosa is not installed.
        """
        groups, stride = backbone_config(config, _Config).groups, config.stride
        waveform_N = mono(clip, least=FFT).numpy()
        columns_SD, known_SD = _tokens(waveform_N, groups, stride)
        count, per_chunk = len(columns_SD), round(config.chunk_s / (stride * HOP_S))
        chunks = -(-count // per_chunk)
        cut = [
            torch.nn.functional.pad(torch.from_numpy(x), (0, 0, 0, chunks * per_chunk - count)).unflatten(0, (chunks, per_chunk))
            for x in (columns_SD, known_SD)
        ]
        index_S = np.arange(chunks * per_chunk)
        last = -(-len(waveform_N) // HOP) - 1  # frame; the last token may be made of fewer
        frames_S = (index_S * stride + np.minimum((index_S + 1) * stride - 1, np.maximum(last, index_S * stride))) / 2
        return EncoderInput(
            tensors={"columns": cut[0], "known": cut[1]},
            times_S=torch.from_numpy(clip.waveform_start_s + frames_S * HOP_S).float(),
            mask_S=torch.from_numpy(index_S < count),
            seconds=len(waveform_N) / SAMPLING_RATE_HZ,
            samples=len(waveform_N),
        )

    def encode_chunks(self, columns: Tensor, known: Tensor) -> Tensor:
        """Map columns and known (C, S, D) to tokens (C, S, D).

        Raises:
            ConfigError: another number of tokens or columns than a chunk has.
        """
        wanted = (round(self.config.chunk_s / (self.config.stride * HOP_S)), self.width)
        if tuple(columns.shape[1:]) != wanted or known.shape != columns.shape:
            raise ConfigError(
                f"columns are {tuple(columns.shape)}, wanted (C, {wanted[0]}, {wanted[1]});",
                remedy="prepare them with this encoder's own preprocess.",
            )
        weight: Any = self.backbone.weight
        tokens_CSD: Tensor = self.backbone(columns.to(weight.dtype), known.to(weight.dtype))
        return tokens_CSD

    def fit_normalization(self, rows: Iterable[EncoderInput]) -> None:
        """Take means and deviations from `rows`, one clip each as `preprocess` gives it, all tokens with equal weight.

        A column that is nowhere known keeps its own; one that never changes is only moved.

        Raises:
            ConfigError: no rows.
        """
        totals = torch.zeros(3, self.width, dtype=torch.float64)
        for row in rows:
            columns, known = (row.tensors[k].double().flatten(0, 1)[row.mask_S] for k in ("columns", "known"))
            totals += torch.stack([known.sum(0), (columns * known).sum(0), (columns.square() * known).sum(0)])
        if not totals[0].any():
            raise ConfigError("no rows to take means and deviations from;", remedy="give clips as `preprocess` gives them.")
        count, total, squares = totals
        mean = total / count.clamp(min=1)
        sd = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
        backbone: Any = self.backbone
        backbone.mean.copy_(mean.to(backbone.mean).where(count > 0, backbone.mean))
        backbone.sd.copy_(sd.where(sd > 1e-6, 1.0).to(backbone.sd).where(count > 0, backbone.sd))


def _table(groups: Sequence[str], values: dict[str, tuple[float, ...]]) -> list[float]:
    """Means or deviations of the columns of some groups."""
    return [value for group in groups for value in values[group]]


def _tokens(waveform_N: np.ndarray, groups: Sequence[str], stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and which of them are known, both float32 (S, D), of tokens of `stride` frames: the mean of what is known."""
    found = measure(waveform_N)
    frames = len(found.columns["mel"])
    starts = np.arange(0, frames, stride)
    columns, known = [], []
    for group in groups:
        if group == "clip":
            columns.append(np.repeat(found.columns[group], len(starts), axis=0))
            known.append(np.repeat(found.known[group], len(starts), axis=0).astype(np.float32))
            continue
        count_SD = np.add.reduceat(found.known[group].astype(np.float32), starts, axis=0)
        total_SD = np.add.reduceat(found.columns[group] * found.known[group], starts, axis=0)
        columns.append(total_SD / np.maximum(count_SD, 1))
        known.append((count_SD > 0).astype(np.float32))
    return np.concatenate(columns, axis=1), np.concatenate(known, axis=1)
