"""WavLM over speech: HuBERT's task on noisy and overlapping voices, with gated relative positions.

Follows Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing" (2021) and the hub cards
microsoft/wavlm-*.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import WavLMConfig, WavLMModel

from unifusion.encoders._waves import PositionsSet, WaveConfig, WaveEncoder, tiny_wave

__all__ = ["WavLM"]


class _Backbone(PositionsSet, WavLMModel):
    """WavLMModel, whole from the start."""


class WavLM(WaveEncoder):
    """The waveform through WavLM's network, without the heads that its training or fine-tuning had."""

    config_class = WavLMConfig
    model_class = WavLMModel
    built_class = _Backbone

    @dataclass(kw_only=True)
    class Config(WaveConfig):
        """`source` (such as microsoft/wavlm-large) or an inline `backbone` of WavLMConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Half a second a chunk, width 16, two layers."""
        return cls.Config(backbone=tiny_wave(), chunk_s=0.5)
