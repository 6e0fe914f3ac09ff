"""CAV-MAE's way for sound alone: patches of the log-mel picture whose states were trained beside pictures.

Follows Gong et al., "Contrastive Audio-Visual Masked Autoencoder" (2023); weights are published with its code. The network, its
picture half, the joint path and the pre-training are `unifusion.cav_mae`; `cav_mae_video` is the picture half as an encoder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from unifusion.cav_mae import CAVMAEConfig, CAVMAEModel
from unifusion.encoders._cav_mae import cav_mae_backbone, cav_mae_shape
from unifusion.encoders._fbanks import FbankConfig, FbankEncoder, Grid
from unifusion.encoders._hub import backbone_config

__all__ = ["CAVMAE"]

AUDIOSET = (-5.081, 4.4849)
"""Mean and deviation of log mel energies that pre-training scaled by."""


class CAVMAE(FbankEncoder):
    """Sound in chunks of 10.24 s, the waveform's mean taken off: 64 tokens a chunk, or a grid of 8 x 64."""

    centred = True

    @dataclass(kw_only=True)
    class Config(FbankConfig):
        """`source`: a `.pth` file of the published weights, or a folder written by `save_pretrained`; or an inline `backbone` of
        `unifusion.cav_mae.SHAPE` keys (with a `.pth` file that has another shape than the published one, both)."""  # fmt: skip

    @classmethod
    def tiny(cls) -> Config:
        """64 frames of 32 bins a chunk, 2 x 4 patches, width 16, one layer and one shared."""
        shape = {"hidden_size": 16, "num_attention_heads": 2, "mlp_ratio": 2, "audio_layers": 1, "audio_frames": 64, "num_mel_bins": 32}
        return cls.Config(backbone=shape)

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
        resolved: CAVMAE.Config = cav_mae_shape(config, "audio")
        cls.known_tokens(resolved)
        mean = AUDIOSET[0] if resolved.mean is None else resolved.mean
        return replace(resolved, mean=mean, deviation=resolved.deviation or AUDIOSET[1])

    @classmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the weights that sound alone goes through."""
        return cav_mae_backbone(config, load_weights=load_weights)

    @classmethod
    def grid(cls, config: Config) -> Grid:
        """Frames, bins, patches."""
        shape = backbone_config(config, CAVMAEConfig)
        patch = int(shape.patch_size)
        return Grid(bins=int(shape.num_mel_bins), frames=int(shape.audio_frames), patch=patch, strides=(patch, patch))

    def patches(self, input_values: Tensor) -> Tensor:
        """Map input_values (C, frames, bins) to states of the patches (C, rows x steps, D)."""
        network: CAVMAEModel = self.backbone  # type: ignore[assignment]
        return network(input_values=input_values)  # type: ignore[no-any-return]
