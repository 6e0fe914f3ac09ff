"""XLM-RoBERTa over the transcript of a clip, in any of a hundred languages.

Follows Conneau et al., "Unsupervised Cross-lingual Representation Learning at Scale" (2019) and the hub cards FacebookAI/xlm-roberta-*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import XLMRobertaConfig, XLMRobertaModel

from unifusion.encoders._texts import TextConfig, TextEncoder, hold_windows, tiny_bert

__all__ = ["XLMRoberta"]


class XLMRoberta(TextEncoder):
    """The words that are said through XLM-RoBERTa, without its pooler and the heads behind it."""

    config_class = XLMRobertaConfig
    model_class = XLMRobertaModel

    @dataclass(kw_only=True)
    class Config(TextConfig):
        """`source` (such as FacebookAI/xlm-roberta-base) or an inline `backbone` of XLMRobertaConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Windows of 64 bytes, width 16, two layers."""
        return cls.Config(backbone={**tiny_bert(), "type_vocab_size": 1})

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with `backbone` filled in.

        Raises:
            ConfigError: windows longer than the network's positions, which begin behind that of padding.
        """
        resolved = super().resolve(config)
        most = resolved.backbone["max_position_embeddings"] - resolved.backbone["pad_token_id"] - 1
        hold_windows(resolved.max_tokens, most)
        return resolved
