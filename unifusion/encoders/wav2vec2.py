"""wav2vec 2.0 over speech: features learnt by telling the true next ones from others.

Follows Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech Representations" (2020) and the hub cards
facebook/wav2vec2-*.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import Wav2Vec2Config, Wav2Vec2Model

from unifusion.encoders._waves import PositionsSet, WaveConfig, WaveEncoder, tiny_wave

__all__ = ["Wav2Vec2"]


class _Backbone(PositionsSet, Wav2Vec2Model):
    """Wav2Vec2Model, whole from the start."""


class Wav2Vec2(WaveEncoder):
    """The waveform through wav2vec 2.0's network, without the heads that its training or fine-tuning had."""

    config_class = Wav2Vec2Config
    model_class = Wav2Vec2Model
    built_class = _Backbone

    @dataclass(kw_only=True)
    class Config(WaveConfig):
        """`source` (such as facebook/wav2vec2-large-lv60) or an inline `backbone` of Wav2Vec2Config keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Half a second a chunk, width 16, two layers."""
        return cls.Config(backbone=tiny_wave(), chunk_s=0.5)
