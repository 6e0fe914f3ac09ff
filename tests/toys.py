"""Toy models small enough to reason about: a byte tokenizer, a two-layer language model, tiny encoders."""

from __future__ import annotations

import os

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from unifusion.conversation import Clip, Conversation, Media, Message
from unifusion.encoders.videomae import VideoMAE
from unifusion.encoders.whisper import Whisper
from unifusion.models.build import build_chat_model
from unifusion.processor import StreamSpec

LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "tie_word_embeddings": True,
}  # fmt: skip


def byte_tokenizer(**options):
    """One token per byte, an end token, nothing else."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", **options)


def streams(adapter="windowed_qformer"):
    """A video and an audio stream from the encoders' own tiny configs."""
    from unifusion import catalog

    tiny = catalog.load("adapters", adapter).tiny()
    return {
        "video": StreamSpec(encoder="videomae", encoder_config=vars(VideoMAE.tiny()), adapter=adapter, adapter_config=vars(tiny)),
        "audio": StreamSpec(encoder="whisper", encoder_config=vars(Whisper.tiny()), adapter=adapter, adapter_config=vars(tiny)),
    }


def chat_model(adapter="windowed_qformer", llm=None, seed=0, **options):
    """A random chat model and its processor."""
    torch.manual_seed(seed)
    model, processor = build_chat_model(llm or LLAMA, streams(adapter), tokenizer=byte_tokenizer(), **options)
    with torch.no_grad():  # wider than usual, so that answers differ and greedy choices are not ties
        for parameter in model.language_model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return model, processor


def clip(seconds=1.0, seed=0, picture=True, sound=True, size=40, rate_hz=8.0):
    """Random frames and noise as a decoded clip."""
    rng = np.random.default_rng(seed)
    times = np.arange(0, seconds, 1 / rate_hz)
    return Clip(
        frames_THWC=rng.integers(0, 255, (len(times), size, size, 3), dtype=np.uint8) if picture else None,
        frame_times_s=times if picture else None,
        waveform_N=rng.normal(0, 0.1, int(seconds * 16_000)).astype(np.float32) if sound else None,
        duration_s=seconds,
    )


def video(**options):
    """A reference to a random clip with picture and sound; `picture=False` or `sound=False` leaves one out."""
    return Media(kind="video", source=clip(**options))


def talk(media=(), question="what happens?", answer=None, name=""):
    """One question about clips; with `answer`, a training example."""
    messages = [Message(role="user", parts=(*media, question))]
    if answer is not None:
        messages.append(Message(role="assistant", parts=(answer,), supervised=True))
    return Conversation(messages=tuple(messages), id=name)


def mixed(answer=None):
    """Eight conversations: picture and sound, one of them, a still, several clips, one muted, text alone; prompts of many lengths."""
    still = Media(kind="image", source=clip(seconds=0.2, seed=3, rate_hz=5.0, sound=False))
    shown = [
        (video(seed=1),), (video(seed=2, sound=False, seconds=2.0),), (Media(kind="audio", source=clip(seed=4)),), (still,), (),
        (video(seed=5), video(seed=6, picture=False)), (video(seed=7).muted("audio"),), (video(seed=8, seconds=1.7),),
    ]  # fmt: skip
    return [talk(media, f"question {'x' * i}?", answer and answer * (i % 3 + 1), name=str(i)) for i, media in enumerate(shown)]


def until_end(ids, end_ids):
    """The ids before the first end id."""
    return ids[: next((i for i, token in enumerate(ids) if token in end_ids), len(ids))]


def run_apart(function):
    """Run `function` in a forked child; returns its exit status, negative for the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            function()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
