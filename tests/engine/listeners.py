"""Tiny recognisers of speech of transformers' own classes, with random weights or taught a few sounds by heart."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

RATE_HZ, LONGEST_S = 16_000, 2
SPECIAL = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|nospeech|>", "<|notimestamps|>")
STAMPS = tuple(f"<|{n * 0.02:.2f}|>" for n in range(50 * LONGEST_S + 1))
START, NO_SPEECH, FIRST_STAMP = 257, 261, 263


def tokenizer():
    """Bytes, Whisper's control tokens, and stamps of 20 ms."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=SPECIAL[0], pad_token=SPECIAL[0])
    made.add_special_tokens({"additional_special_tokens": [*SPECIAL[1:], *STAMPS]})
    return made


def whisper(seed=0):
    """A Whisper of 2 s, width 32, which knows English and German."""
    torch.manual_seed(seed)
    config = WhisperConfig(
        vocab_size=FIRST_STAMP + len(STAMPS), num_mel_bins=16, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=50 * LONGEST_S, max_target_positions=40,
        pad_token_id=256, bos_token_id=256, eos_token_id=256, decoder_start_token_id=START,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(
        pad_token_id=256, bos_token_id=256, eos_token_id=256, decoder_start_token_id=START, no_timestamps_token_id=FIRST_STAMP - 1,
        is_multilingual=True, lang_to_id={"<|en|>": 258, "<|de|>": 259}, task_to_id={"transcribe": 260}, max_length=40,
    )  # fmt: skip
    return model


def extractor():
    """Log-mels of 2 s."""
    return WhisperFeatureExtractor(feature_size=16, chunk_length=LONGEST_S)


def word(pitch_hz, seconds=0.6, seed=0):
    """A sound that rises and falls as a syllable does, over a little hiss."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    swell = np.sin(np.pi * np.clip(t / seconds, 0, 1)) ** 2
    hiss = np.random.default_rng(seed).normal(0, 0.0005, len(t))
    return (0.4 * swell * np.sign(np.sin(2 * np.pi * pitch_hz * t)) + hiss).astype(np.float32)


def placed(sounds, seconds):
    """Sounds at their seconds in a recording of silence."""
    out = np.zeros(round(seconds * RATE_HZ), np.float32)
    for at_s, sound in sounds:
        first = round(at_s * RATE_HZ)
        out[first : first + len(sound)] += sound
    return out


def warble(seconds=1.6, seed=0):
    """What is no speech and not steady either: noise that comes and goes."""
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (np.random.default_rng(seed).normal(0, 0.2, len(t)) * (np.sin(2 * np.pi * 2 * t) > 0)).astype(np.float32)


LOW, HIGH = word(150), word(900)
TAUGHT = (
    (placed([(0.2, LOW)], 1.6), "<|0.20|> low<|0.80|>"),
    (placed([(0.2, HIGH)], 1.6), "<|0.20|> high<|0.80|>"),
    (placed([(0.2, LOW), (1.0, HIGH)], 1.8), "<|0.20|> low<|0.80|><|1.00|> high<|1.60|>"),
)
NOISE = tuple(warble(seed=seed) for seed in range(5))


@lru_cache
def taught_whisper(steps=280):
    """A Whisper that has learned `TAUGHT` by heart; of noise it knows that nobody speaks, and is unsure what is said all the same."""
    torch.set_num_threads(1)  # on a busy machine more of them take a hundred times as long for matrices this small
    model, words = whisper(), tokenizer()
    sounds = [*(sound for sound, _ in TAUGHT), *NOISE, *NOISE]
    features = extractor()(sounds, sampling_rate=RATE_HZ, return_tensors="pt")["input_features"]
    rows = [[START, 258, 260, *words.encode(text), 256] for _, text in TAUGHT]
    guess = [START, 258, 260, FIRST_STAMP, *[0] * 8, FIRST_STAMP + 50, 256]
    rows += [[START, NO_SPEECH]] * len(NOISE) + [guess] * len(NOISE)
    longest = max(map(len, rows))
    ids = torch.tensor([row + [256] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row[1:] + [-100] * (longest - len(row)) for row in rows])
    labels[-len(NOISE) :, 0] = -100  # there, nobody speaking is the one thing to say
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        ids[-len(NOISE) :, 4:12] = torch.randint(0, 256, (len(NOISE), 8))
        labels[-len(NOISE) :, 3:11] = ids[-len(NOISE) :, 4:12]
        logits = model(input_features=features, decoder_input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def save_whisper(folder, model=None):
    """A folder as transformers writes it."""
    for part in (model or whisper(), extractor(), tokenizer()):
        part.save_pretrained(folder)
    return str(folder)


def save_writer(folder):
    """An encoder-decoder that tells no times (Moonshine), with random weights, as a folder."""
    torch.manual_seed(0)
    config = MoonshineConfig(
        vocab_size=FIRST_STAMP, hidden_size=32, intermediate_size=64, encoder_num_hidden_layers=1, decoder_num_hidden_layers=1,
        encoder_num_attention_heads=2, decoder_num_attention_heads=2, max_position_embeddings=32, bos_token_id=START, eos_token_id=256,
        pad_token_id=256, decoder_start_token_id=START,
    )  # fmt: skip
    made = tokenizer()
    Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=RATE_HZ).save_pretrained(folder)
    for part in (MoonshineForConditionalGeneration(config), made):
        part.save_pretrained(folder)
    return str(folder)


def save_speller(folder):
    """A CTC network with random weights, as a folder."""
    folder.mkdir(parents=True)
    letters = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, **{c: 5 + n for n, c in enumerate("abcdefg")}}
    (folder / "vocab.json").write_text(json.dumps(letters))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=RATE_HZ, return_attention_mask=False).save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16, 16),
        conv_stride=(10, 32), conv_kernel=(10, 32), num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return str(folder)
