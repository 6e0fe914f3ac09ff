"""Folders of existing multimodal chat models, tiny and random, laid out as the published ones are."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 4096, "tie_word_embeddings": False,
}  # fmt: skip
_MEL = {
    "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "d_model": 32, "num_mel_bins": 16,
}  # fmt: skip
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]

OMNI_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "<|vision_bos|><|IMAGE|><|vision_eos|>{% elif content['type'] == 'audio' or 'audio' in content %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif content['type'] == 'video' or 'video' in content %}<|vision_bos|><|VIDEO|><|vision_eos|>{% elif 'text' in content %}"
    "{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
AUDIO_TEMPLATE = (
    "{% set audio_count = namespace(value=0) %}{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if 'audio' in content or 'audio_url' in content or content['type'] == 'audio' %}"
    "{% set audio_count.value = audio_count.value + 1 %}Audio {{ audio_count.value }}: <|audio_bos|><|AUDIO|><|audio_eos|>\n"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'video') %}{{ '<video>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VIDEO_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|image_pad|>\n{% elif content['type'] == 'video' %}<|video_pad|>\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_QWEN_PICTURES = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
                  "min_pixels": 784, "max_pixels": 28 * 28 * 64, "image_mean": _CLIP_MEAN, "image_std": _CLIP_STD}  # fmt: skip
_MELS = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 16, "hop_length": 160, "n_fft": 400, "sampling_rate": 16000,
         "return_attention_mask": True}  # fmt: skip


_SPLIT = (  # Qwen2's
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_READ = ["system\nYou are a helpful assistant.\n", "user\n", "assistant\n", "Time 0.0s:,Time 1.5s:", "Audio 1: \n", "clip 2: ", "\n\n"]


def tokenizer(control, template):
    """Byte-level BPE that splits as Qwen's does and knows some words, and the control tokens, special as in the published files."""
    inner = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_SPLIT), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(_READ * 3, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    inner.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*CHATML, *control)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template)


def _omni_config(made, three):
    """Config of a thinker."""
    ids = {f"{kind}_token_id": made.convert_tokens_to_ids(f"<|{kind.upper()}|>") for kind in ("image", "video", "audio")}
    marks = {"audio_start_token_id": "<|audio_bos|>", "vision_start_token_id": "<|vision_bos|>"}
    ids |= {key: made.convert_tokens_to_ids(token) for key, token in marks.items()}
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1], **({"mrope_interleaved": True} if three else {})}
    text = {**_TEXT, "vocab_size": len(made), "rope_parameters": rope}
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}
    if three:
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8, "num_hidden_layers": 3}
        vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16, "patch_size": 16}
        audio = {**_MEL, "output_dim": 32, "downsample_hidden_size": 8, "n_window": 50, "n_window_infer": 100}
        return ids | {"text_config": text, "vision_config": vision, "audio_config": audio, "position_id_per_seconds": 13}
    vision |= {"fullatt_block_indexes": [1]}
    return ids | {"text_config": text, "vision_config": vision, "audio_config": {**_MEL, "output_dim": 32, "n_window": 100}}


def _published_omni(folder, kind):
    """Rename a saved thinker to the layout of the whole model, with a weight of the talker beside it."""
    weights = load_file(folder / "model.safetensors")
    renamed = {}
    for key, value in weights.items():
        for new, old in (("model.", "model.language_model."), ("visual.", "model.visual."), ("audio_tower.", "model.audio_tower.")):
            if key.startswith(old):
                key = new + key.removeprefix(old)
                break
        renamed[f"thinker.{key}".replace("thinker.thinker.", "thinker.")] = value
    save_file({**renamed, "talker.model.norm.weight": torch.ones(4)}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    whole = {"model_type": kind, "architectures": ["WholeModel"], "thinker_config": config, "enable_audio_output": True}
    (folder / "config.json").write_text(json.dumps(whole))


def _write(folder, name, value):
    (folder / name).write_text(json.dumps(value))


def _omni(folder, kind, template, config_class, model_class):
    """A thinker, saved in the layout of the whole model."""
    control = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|vision_bos|>", "<|vision_eos|>", "<|IMAGE|>", "<|VIDEO|>")
    made = tokenizer(control, template)
    _save(model_class(config_class(**_omni_config(made, kind == "qwen3_omni_moe"))), made, folder)
    _published_omni(folder, kind)


def qwen2_5_omni(folder):
    """Old files: one preprocessor_config.json for pictures and sound, chat_template.json; the whole model's layout."""
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    _omni(folder, "qwen2_5_omni", None, Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration)
    _write(folder, "preprocessor_config.json", {**_QWEN_PICTURES, **_MELS, "chunk_length": 300, "processor_class": "Qwen2_5OmniProcessor"})
    _write(folder, "chat_template.json", {"chat_template": OMNI_TEMPLATE})


def qwen3_omni(folder):
    """New files: everything nested in processor_config.json, chat_template.jinja; the whole model's layout."""
    from transformers import Qwen3OmniMoeThinkerConfig, Qwen3OmniMoeThinkerForConditionalGeneration

    _omni(folder, "qwen3_omni_moe", OMNI_TEMPLATE, Qwen3OmniMoeThinkerConfig, Qwen3OmniMoeThinkerForConditionalGeneration)
    pictures = {**_QWEN_PICTURES, "patch_size": 16, "min_pixels": None, "max_pixels": None, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    pictures["size"] = {"shortest_edge": 1024, "longest_edge": 65536}
    parts = {"image_processor": pictures, "video_processor": pictures, "feature_extractor": {**_MELS, "chunk_length": 30}}
    _write(folder, "processor_config.json", {**parts, "processor_class": "Qwen3OmniMoeProcessor"})


def video_llama_3(folder):
    """Pictures only, with times in words."""
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    made = tokenizer(("<|image_pad|>", "<|video_pad|>"), VIDEO_TEMPLATE)
    config = VideoLlama3Config(
        text_config={"model_type": "qwen2", **_TEXT, "vocab_size": len(made)},
        vision_config={"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 14},
        image_token_id=made.convert_tokens_to_ids("<|image_pad|>"), video_token_id=made.convert_tokens_to_ids("<|video_pad|>"),
    )  # fmt: skip
    _save(VideoLlama3ForConditionalGeneration(config), made, folder)
    size = {"shortest_edge": 784, "longest_edge": 28 * 28 * 64}
    same = {"patch_size": 14, "size": size, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    _write(folder, "preprocessor_config.json", {**same, "merge_size": 1, "image_processor_type": "VideoLlama3ImageProcessor"})
    _write(folder, "video_preprocessor_config.json", {**same, "merge_size": 2, "fps": 2, "max_frames": 16})


def llava_onevision(folder):
    """Pictures only, in tiles."""
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    made = tokenizer(("<image>", "<video>"), LLAVA_TEMPLATE)
    pinpoints = [[28, 28], [28, 56], [56, 28], [56, 56]]
    config = LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **_TEXT, "vocab_size": len(made)},
        vision_config={
            "model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "patch_size": 7, "image_size": 28,
        },
        image_token_index=made.convert_tokens_to_ids("<image>"), video_token_index=made.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )  # fmt: skip
    _save(LlavaOnevisionForConditionalGeneration(config), made, folder)
    same = {"size": {"height": 28, "width": 28}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    _write(folder, "preprocessor_config.json", {**same, "image_grid_pinpoints": pinpoints})
    _write(folder, "video_preprocessor_config.json", same)
    _write(folder, "processor_config.json", {"num_image_tokens": 16, "vision_feature_select_strategy": "full"})


def qwen2_audio(folder):
    """Sound only."""
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    made = tokenizer(("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"), AUDIO_TEMPLATE)
    config = Qwen2AudioConfig(
        text_config={"model_type": "qwen2", **_TEXT, "vocab_size": len(made)},
        audio_config={"model_type": "qwen2_audio_encoder", **_MEL}, audio_token_index=made.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    _save(Qwen2AudioForConditionalGeneration(config), made, folder)
    _write(folder, "preprocessor_config.json", {**_MELS, "chunk_length": 30, "nb_max_frames": 3000, "n_samples": 480000})


def qwen2_vl(folder):
    """Pictures only; frames of videos by the file of the images."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    _qwen_vl(folder, Qwen2VLConfig, Qwen2VLForConditionalGeneration, {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 1})


def qwen2_5_vl(folder):
    """Pictures only, with seconds as positions."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {"hidden_size": 32, "intermediate_size": 32, "out_hidden_size": 32, "fullatt_block_indexes": [1]}
    _qwen_vl(folder, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, vision)


def _qwen_vl(folder, config_class, model_class, vision):
    template = OMNI_TEMPLATE
    for old, new in (("IMAGE", "image_pad"), ("VIDEO", "video_pad"), ("vision_bos", "vision_start"), ("vision_eos", "vision_end")):
        template = template.replace(f"<|{old}|>", f"<|{new}|>")
    made = tokenizer(("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"), template)
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad", "vision_start_token_id": "vision_start"}
    ids = {key: made.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
    text = {**_TEXT, "vocab_size": len(made), "rope_parameters": rope}
    config = config_class(text_config=text, vision_config={"depth": 2, "num_heads": 2, **vision}, tie_word_embeddings=True, **ids)
    _save(model_class(config), made, folder)
    _write(folder, "preprocessor_config.json", _QWEN_PICTURES)


def _save(model, made, folder):
    """Write weights and tokenizer; text weights are wider than usual, so that answers differ and greedy choices are no ties."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and ("language_model" in name or "lm_head" in name):
                parameter.mul_(8.0)
    model.save_pretrained(folder)
    made.save_pretrained(folder)


MODELS = {
    f.__name__: f for f in (qwen2_5_omni, qwen3_omni, video_llama_3, llava_onevision, qwen2_audio, qwen2_vl, qwen2_5_vl)
}  # fmt: skip
TAKES = {
    "qwen2_5_omni": {"video", "audio"}, "qwen3_omni": {"video", "audio"}, "video_llama_3": {"video"}, "llava_onevision": {"video"},
    "qwen2_audio": {"audio"}, "qwen2_vl": {"video"}, "qwen2_5_vl": {"video"},
}  # fmt: skip


@cache
def folder_of(name, parent):
    """The folder of one model, made once per parent."""
    folder = Path(parent) / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(zlib.crc32(name.encode()))
    MODELS[name](folder)
    return folder
