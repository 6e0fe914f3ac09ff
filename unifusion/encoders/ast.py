"""AST over sound: a vision transformer over log-mel pictures, trained to name the sounds of AudioSet.

Follows Gong et al., "AST: Audio Spectrogram Transformer" (2021) and the hub cards MIT/ast-*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from unifusion.encoders._fbanks import FbankConfig, FbankEncoder, Grid
from unifusion.encoders._hub import backbone_config, build_backbone, load_pretrained, preprocessing_of, resolve_backbone

__all__ = ["AST"]

AUDIOSET = (-4.2677393, 4.5689974)
"""Mean and deviation of AudioSet's log mel energies; pictures are scaled by twice the deviation."""


class AST(FbankEncoder):
    """Sound in chunks of 10.24 s through AST, without its class and distillation tokens: 101 tokens a chunk, or a grid of 12 x 101."""

    @dataclass(kw_only=True)
    class Config(FbankConfig):
        """`source` (such as MIT/ast-finetuned-audioset-10-10-0.4593) or an inline `backbone` of ASTConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """64 frames of 32 bins a chunk, patches of 16 every 8, width 16, one layer."""
        return cls.Config(
            backbone={
                "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 16,
                "frequency_stride": 8, "time_stride": 8, "max_length": 64, "num_mel_bins": 32,
            }
        )  # fmt: skip

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Config) -> Config:
        """Return `config` with nothing left open.

        Raises:
            CheckpointError: the source has no readable config.
            ConfigError: an unknown key or choice of tokens.
        """
        resolved: AST.Config = resolve_backbone(config, ASTConfig)
        cls.known_tokens(resolved)
        if resolved.mean is not None and resolved.deviation is not None:
            return resolved
        told = preprocessing_of(ASTFeatureExtractor.get_feature_extractor_dict, resolved.source, resolved.revision)
        mean, deviation = told.get("mean", AUDIOSET[0]), 2 * told.get("std", AUDIOSET[1])
        return replace(resolved, mean=mean if resolved.mean is None else resolved.mean, deviation=resolved.deviation or deviation)

    @classmethod
    def make_backbone(cls, config: Config, *, load_weights: bool) -> nn.Module:
        """Return the network without its classifier."""
        if load_weights and config.source:
            return load_pretrained(ASTModel, config)
        return build_backbone(ASTModel, config, ASTConfig)

    @classmethod
    def grid(cls, config: Config) -> Grid:
        """Frames, bins, patches."""
        shape = backbone_config(config, ASTConfig)
        strides = (int(shape.frequency_stride), int(shape.time_stride))
        return Grid(bins=int(shape.num_mel_bins), frames=int(shape.max_length), patch=int(shape.patch_size), strides=strides)

    def patches(self, input_values: Tensor) -> Tensor:
        """Map input_values (C, frames, bins) to states of the patches (C, rows x steps, D)."""
        states_CSD: Tensor = self.backbone(input_values).last_hidden_state
        return states_CSD[:, 2:]
