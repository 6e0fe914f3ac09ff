"""Tiny "hub folders": an encoder or a language model as transformers saves it, for models that reference their frozen parts."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    VideoMAEConfig,
    VideoMAEImageProcessorPil,
    VideoMAEModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from tests.toys import LLAMA, byte_tokenizer
from unifusion.encoders.videomae import VideoMAE
from unifusion.encoders.whisper import Whisper
from unifusion.models.build import build_chat_model
from unifusion.processor import StreamSpec


def save_encoders(folder):
    """`folder/videomae` and `folder/whisper`, each with its preprocessing, as published ones have it. Biases are not zero."""
    torch.manual_seed(11)
    video = VideoMAEModel(VideoMAEConfig(**VideoMAE.tiny().backbone))
    audio = WhisperModel(
        WhisperConfig(**Whisper.tiny().backbone, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, vocab_size=20,
                      max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)
    )  # fmt: skip
    for model in (video, audio):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_(std=0.5)
    video.save_pretrained(folder / "videomae")
    VideoMAEImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder / "videomae")
    audio.save_pretrained(folder / "whisper")
    WhisperFeatureExtractor(feature_size=16).save_pretrained(folder / "whisper")
    return Path(folder)


def save_language_model(folder, config=LLAMA, **options):
    """A causal language model with its tokenizer."""
    torch.manual_seed(12)
    tokenizer = byte_tokenizer(**options)
    text = AutoConfig.for_model(**{**config, "vocab_size": len(tokenizer)})
    AutoModelForCausalLM.from_config(text).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def sourced_streams(folder, adapter="windowed_qformer"):
    """Streams whose encoders come from `save_encoders(folder)`."""
    from unifusion import catalog

    tiny = vars(catalog.load("adapters", adapter).tiny())
    return {
        "video": StreamSpec(encoder="videomae", encoder_config={"source": str(folder / "videomae")}, adapter=adapter, adapter_config=tiny),
        "audio": StreamSpec(encoder="whisper", encoder_config={"source": str(folder / "whisper")}, adapter=adapter, adapter_config=tiny),
    }


def sourced_model(folder, llm=LLAMA, **options):
    """A chat model over sourced encoders, and over a sourced language model when `llm` is a folder."""
    torch.manual_seed(13)
    inline = {"tokenizer": byte_tokenizer()} if isinstance(llm, dict) else {}
    return build_chat_model(llm, sourced_streams(folder), **inline, **options)
