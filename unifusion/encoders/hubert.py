"""HuBERT over speech: units found by clustering and predicted behind masks; what emotion models take most.

Follows Hsu et al., "HuBERT: Self-Supervised Speech Representation Learning by Masked Prediction of Hidden Units" (2021) and the hub cards
facebook/hubert-*.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import HubertConfig, HubertModel

from unifusion.encoders._waves import PositionsSet, WaveConfig, WaveEncoder, tiny_wave

__all__ = ["HuBERT"]


class _Backbone(PositionsSet, HubertModel):
    """HubertModel, whole from the start."""


class HuBERT(WaveEncoder):
    """The waveform through HuBERT's network, without the heads that its training or fine-tuning had."""

    config_class = HubertConfig
    model_class = HubertModel
    built_class = _Backbone

    @dataclass(kw_only=True)
    class Config(WaveConfig):
        """`source` (such as facebook/hubert-large-ll60k) or an inline `backbone` of HubertConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Half a second a chunk, width 16, two layers."""
        return cls.Config(backbone=tiny_wave(), chunk_s=0.5)
