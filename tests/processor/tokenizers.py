"""Tokenizers of several families, built here: byte BPE with merges, Unigram with metaspace, WordPiece that folds case, words only."""

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "the clip shows a person who is happy and says hello",
    "<think> video audio image | end user assistant system </think>",
    "<|video|>",
] * 4
SPECIAL = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
ADDED = ["<think>", "</think>", "==", "  ", "    ", "<tool_call>", "▸"]
"""Added but not special, as Qwen's <think> and Phi's runs of spaces; `==` overlaps itself; one is a single character."""
CONTROL = ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<start_of_turn>", "<|eot_id|>"]


def _wrap(tokenizer, *, normalized=False):
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, extra_special_tokens=CONTROL)
    made.add_tokens([AddedToken(t, special=False, normalized=normalized) for t in ADDED])
    return made


def byte_bpe():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    return _wrap(tokenizer)


def unigram():
    """As sentencepiece writes it: `</s>` is a piece of the vocabulary with a score like any other."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    alphabet = [chr(c) for c in range(33, 127)]
    options = {"special_tokens": ["<unk>", "<s>", "</s>"], "unk_token": "<unk>", "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=300, **options))
    return _wrap(tokenizer)


def word_piece():
    """Lower case, no accents, and it looks for added tokens in the folded text: <THINK> would become <think>."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    alphabet = [chr(c) for c in range(33, 127)]
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["<unk>"], initial_alphabet=alphabet, show_progress=False)
    )
    return _wrap(tokenizer, normalized=True)


def byte_fallback():
    """Characters with bytes for the rest, as Llama 2's and Gemma's."""
    vocabulary = ["<unk>", *(f"<0x{b:02X}>" for b in range(256)), "▁", *(chr(c) for c in range(33, 127))]
    tokenizer = Tokenizer(
        models.BPE(vocab={t: i for i, t in enumerate(vocabulary)}, merges=[], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _wrap(tokenizer)


def digits():
    """Byte BPE that splits digits and punctuation first, as Llama 3's and Qwen's pattern does."""
    tokenizer = byte_bpe().backend_tokenizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, extra_special_tokens=CONTROL)


def plain_bytes():
    from tests.toys import byte_tokenizer

    return byte_tokenizer(extra_special_tokens=CONTROL)


FAMILIES = {f.__name__: f for f in (byte_bpe, unigram, word_piece, byte_fallback, digits, plain_bytes)}
EXACT = ("byte_bpe", "byte_fallback", "digits", "plain_bytes")
"""Those that give any text back as it was."""
