"""BERT over the transcript of a clip.

Follows Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding" (2018) and the hub cards
google-bert/bert-*.
"""

from __future__ import annotations

from dataclasses import dataclass

from transformers import BertConfig, BertModel

from unifusion.encoders._texts import TextConfig, TextEncoder, tiny_bert

__all__ = ["BERT"]


class BERT(TextEncoder):
    """The words that are said through BERT, without its pooler and the heads behind it."""

    config_class = BertConfig
    model_class = BertModel

    @dataclass(kw_only=True)
    class Config(TextConfig):
        """`source` (such as google-bert/bert-base-uncased) or an inline `backbone` of BertConfig keys."""

    @classmethod
    def tiny(cls) -> Config:
        """Windows of 64 bytes, width 16, two layers."""
        return cls.Config(backbone={**tiny_bert(), "type_vocab_size": 1})
