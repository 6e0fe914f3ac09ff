"""Training a sentencepiece tokenizer, and loading it the one way that keeps its ids."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unifusion.atomic import atomic_folder
from unifusion.errors import ConfigError

__all__ = ["train_tokenizer"]


def train_tokenizer(texts: Iterable[str], out: str | Path, *, vocabulary: int, max_texts: int = 400_000) -> Path:
    """Train byte-fallback BPE and write a folder that `AutoTokenizer.from_pretrained` loads.

    `LlamaTokenizer(vocab_file=..)` would give an empty tokenizer without a word, so the folder is loaded back and compared with
    sentencepiece's own ids before it takes its place. Digits stand alone (times are read and written digit by digit).

    Raises:
        ConfigError: the texts hold too few pieces for `vocabulary`, or the loaded tokenizer does not agree.
    """
    import sentencepiece
    from transformers import AutoTokenizer

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocabulary,
            model_type="bpe",
            byte_fallback=True,
            split_digits=True,
            character_coverage=0.9995,
            input_sentence_size=max_texts,
            shuffle_input_sentence=True,
            normalization_rule_name="nmt_nfkc",
            user_defined_symbols=["t="],
            pad_id=3,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            num_threads=2,
            minloglevel=2,
            train_extremely_large_corpus=False,
        )
    except RuntimeError as error:
        raise ConfigError(f"sentencepiece: {str(error).splitlines()[-1]};", remedy="give more text, or a smaller vocabulary.") from error
    folder = Path(out)
    with atomic_folder(folder) as work:
        (work / "tokenizer.model").write_bytes(model.getvalue())
        config = {
            "tokenizer_class": "LlamaTokenizer",
            "add_bos_token": False,
            "add_eos_token": False,
            "unk_token": "<unk>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "legacy": False,
        }
        (work / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        tokenizer: Any = AutoTokenizer.from_pretrained(work)
        tokenizer.save_pretrained(work)  # tokenizer.json: from here on neither sentencepiece nor protobuf is needed to read it
        pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
        for text in ("what do you hear", "at 1.5 seconds", "emotion: happy."):
            if tokenizer.encode(text, add_special_tokens=False) != pieces.encode(text):
                raise ConfigError(
                    f"the saved tokenizer reads {text!r} otherwise than sentencepiece does;", remedy="use the versions in constraints.txt."
                )
    return folder
