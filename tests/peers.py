"""Folders of multimodal chat models of many families, tiny and random, with tokenizers and the files of processors made on the spot."""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedTokenizerFast

from tests.existing import tokenizer

_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_TOWER = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "patch_size": 7,
    "image_size": 28,
}
_GRID = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_heads": 2,
    "out_hidden_size": 32,
    "patch_size": 7,
}
_MEL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_mel_bins": 16,
}
_ROPE = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
_SIZE, _EDGES = {"height": 28, "width": 28}, {"shortest_edge": 784, "longest_edge": 3136}
_SQUARE = {"size": {"shortest_edge": 28}, "crop_size": _SIZE}
_LLAVA = {"patch_size": 7, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}


def template(image="", audio=""):
    """A chat template with a mark for a picture and one for a sound, in the order that they come in."""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}"
        "{% else %}{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{image}{{% elif part['type'] == 'audio' %}}{audio}"
        "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


class _Folder:
    """What goes into one folder: a tokenizer that knows control tokens, some of them by name, then a network and its processor's files."""

    def __init__(self, path, control=(), *, image="", audio="", **named):
        made = tokenizer((*control, *named.values()), template(image, audio))
        self.path, self.tokenizer = (
            path,
            PreTrainedTokenizerFast(
                tokenizer_object=made.backend_tokenizer,
                eos_token=made.eos_token,
                pad_token=made.pad_token,
                chat_template=made.chat_template,
                extra_special_tokens=named,
            ),
        )

    def id(self, token):
        return self.tokenizer.convert_tokens_to_ids(token)

    def text(self, kind="qwen2", **more):
        return {"model_type": kind, **_TEXT, "vocab_size": len(self.tokenizer), **more}

    def save(self, model, processor, part=None, **settings):
        """`part`: of pictures or of sound, whose file all of them share; or several in `settings`."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.any():
                    parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
                elif not name.endswith("bias"):  # gates and projections that training opens
                    parameter.fill_(0.5) if parameter.dim() < 2 else parameter.normal_(std=0.5)
        model.generation_config.eos_token_id = self.id("<|im_end|>")
        model.save_pretrained(self.path)
        self.tokenizer.save_pretrained(self.path)
        (self.path / "processor_config.json").write_text(json.dumps({"processor_class": processor, **settings}))
        if part is not None:
            part.save_pretrained(self.path)


def llava(path, prefix="Llava", **more):
    f = _Folder(path, ["<image>"], image="<image>\n")
    config = getattr(transformers, f"{prefix}Config")(
        text_config=f.text(), vision_config={"model_type": "clip_vision_model", **_TOWER}, image_token_index=f.id("<image>"), **more
    )
    model = getattr(transformers, f"{prefix}ForConditionalGeneration")(config)
    f.save(model, "LlavaProcessor", transformers.CLIPImageProcessorPil(**_SQUARE), **_LLAVA)


def vipllava(path):
    llava(path, "VipLlava", vision_feature_layers=[-2, -1])


def llava_next(path, prefix="LlavaNext"):
    f = _Folder(path, ["<image>", "<video>"], image="<image>\n")
    grid = [[28, 56], [56, 28], [56, 56]]
    config = getattr(transformers, f"{prefix}Config")(
        text_config=f.text(),
        vision_config={"model_type": "clip_vision_model", **_TOWER},
        image_token_index=f.id("<image>"),
        image_grid_pinpoints=grid,
        video_token_index=f.id("<video>"),
    )
    part = transformers.LlavaNextImageProcessorPil(**_SQUARE, image_grid_pinpoints=grid)
    f.save(getattr(transformers, f"{prefix}ForConditionalGeneration")(config), f"{prefix}Processor", part, **_LLAVA)


def llava_next_video(path):
    llava_next(path, "LlavaNextVideo")


def video_llava(path):
    f = _Folder(path, ["<image>", "<video>"], image="<image>")
    config = transformers.VideoLlavaConfig(
        text_config=f.text(),
        vision_config={"model_type": "clip_vision_model", **_TOWER},
        image_token_index=f.id("<image>"),
        video_token_index=f.id("<video>"),
    )
    f.save(
        transformers.VideoLlavaForConditionalGeneration(config),
        "VideoLlavaProcessor",
        transformers.VideoLlavaImageProcessor(**_SQUARE),
        **_LLAVA,
    )


def internvl(path):
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    f = _Folder(path, image="<IMG_CONTEXT>\n", **named)
    vision = {**_TOWER, "patch_size": [7, 7], "image_size": [28, 28]}
    config = transformers.InternVLConfig(text_config=f.text(), vision_config=vision, image_token_id=f.id("<IMG_CONTEXT>"))
    part = transformers.GotOcr2ImageProcessorPil(size=_SIZE)
    f.save(transformers.InternVLForConditionalGeneration(config), "InternVLProcessor", part, image_seq_length=4)


def idefics2(path):
    f = _Folder(path, ["<fake_token_around_image>", "<image>", "<end_of_utterance>"], image="<image>")
    perceiver = {
        "hidden_size": 32,
        "resampler_n_latents": 4,
        "resampler_depth": 1,
        "resampler_n_heads": 2,
        "resampler_head_dim": 16,
        "num_key_value_heads": 2,
    }
    config = transformers.Idefics2Config(
        text_config=f.text("mistral"), vision_config={**_TOWER}, perceiver_config=perceiver, image_token_id=f.id("<image>")
    )
    part = transformers.Idefics2ImageProcessorPil(size={"shortest_edge": 28, "longest_edge": 28})
    f.save(transformers.Idefics2ForConditionalGeneration(config), "Idefics2Processor", part, image_seq_len=4)


def idefics3(path, prefix="Idefics3"):
    f = _Folder(path, ["<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>"], image="<image>")
    config = getattr(transformers, f"{prefix}Config")(
        text_config=f.text("llama"), vision_config=_TOWER, image_token_id=f.id("<image>"), scale_factor=2
    )
    part = getattr(transformers, f"{prefix}ImageProcessorPil")(size={"longest_edge": 28}, max_image_size={"longest_edge": 28})
    f.save(getattr(transformers, f"{prefix}ForConditionalGeneration")(config), f"{prefix}Processor", part, image_seq_len=4)


def smolvlm(path):
    idefics3(path, "SmolVLM")


def gemma3(path):
    named = {"boi_token": "<start_of_image>", "image_token": "<image_soft_token>", "eoi_token": "<end_of_image>"}
    f = _Folder(path, image="<start_of_image>", **named)
    ids = {key: f.id(token) for key, token in zip(("boi_token_index", "image_token_index", "eoi_token_index"), named.values(), strict=True)}
    config = transformers.Gemma3Config(
        text_config=f.text("gemma3_text"), vision_config={"model_type": "siglip_vision_model", **_TOWER}, mm_tokens_per_image=4, **ids
    )
    part = transformers.Gemma3ImageProcessorPil(size=_SIZE)
    f.save(transformers.Gemma3ForConditionalGeneration(config), "Gemma3Processor", part, image_seq_length=4)


def gemma4(path):
    """Pictures and sound."""
    named = {
        "boi_token": "<|image>",
        "image_token": "<|image|>",
        "eoi_token": "<image|>",
        "boa_token": "<|audio>",
        "audio_token": "<|audio|>",
        "eoa_token": "<audio|>",
    }
    f = _Folder(path, ["<|video|>"], image="<|image|>", audio="<|audio|>", **named)
    ids = {f"{key}_id": f.id(token) for key, token in named.items()}
    text = f.text(
        "gemma4_text",
        vocab_size_per_layer_input=len(f.tokenizer),
        hidden_size_per_layer_input=8,
        layer_types=["sliding_attention", "full_attention"],
        global_head_dim=8,
    )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "patch_size": 4,
        "pooling_kernel_size": 2,
        "position_embedding_size": 64,
    }
    audio = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "subsampling_conv_channels": [128, 4],
        "output_proj_dims": 32,
    }
    config = transformers.Gemma4Config(text_config=text, vision_config=vision, audio_config=audio, video_token_id=f.id("<|video|>"), **ids)
    parts = {
        "image_processor": transformers.Gemma4ImageProcessorPil(patch_size=4, pooling_kernel_size=2, max_soft_tokens=70),
        "feature_extractor": transformers.Gemma4AudioFeatureExtractor(),
    }
    f.save(
        transformers.Gemma4ForConditionalGeneration(config),
        "Gemma4Processor",
        image_seq_length=70,
        **{k: json.loads(p.to_json_string()) for k, p in parts.items()},
    )


def aya_vision(path):
    control = ["<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL"]
    f = _Folder(path, control, image="<image>")
    config = transformers.AyaVisionConfig(
        text_config=f.text(),
        vision_config={"model_type": "siglip_vision_model", **_TOWER},
        image_token_index=f.id("<|IMG_PATCH|>"),
        downsample_factor=2,
    )
    part = transformers.GotOcr2ImageProcessorPil(size=_SIZE, crop_to_patches=False)
    f.save(
        transformers.AyaVisionForConditionalGeneration(config), "AyaVisionProcessor", part, patch_size=7, img_size=28, downsample_factor=2
    )


def ovis2(path):
    f = _Folder(path, ["<IMG_ATOM>", *(f"<i{n}>" for n in range(5))], image="<image>\n", image_token="<image>")
    vision = {**_TOWER, "vocab_size": 64, "hidden_stride": 1}
    config = transformers.Ovis2Config(
        text_config=f.text(),
        vision_config=vision,
        image_token_id=f.id("<IMG_ATOM>"),
        vocab_size=len(f.tokenizer),
        hidden_size=32,
        visual_indicator_token_ids=[f.id(f"<i{n}>") for n in range(5)],
    )
    part = transformers.Ovis2ImageProcessorPil(size=_SIZE, crop_to_patches=False)
    f.save(transformers.Ovis2ForConditionalGeneration(config), "Ovis2Processor", part, image_seq_length=16)


def mllama(path):
    f = _Folder(path, image="<|image|>", image_token="<|image|>")
    f.tokenizer.bos_token = "<|endoftext|>"
    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 2,
        "image_size": 28,
        "patch_size": 7,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 64,
        "max_num_tiles": 1,
        "supported_aspect_ratios": [[1, 1]],
    }
    text = f.text("mllama_text_model", cross_attention_layers=[1], vocab_size=len(f.tokenizer) - 1)
    model = transformers.MllamaForConditionalGeneration(
        transformers.MllamaConfig(text_config=text, vision_config=vision, image_token_index=f.id("<|image|>"))
    )
    f.save(model, "MllamaProcessor", transformers.MllamaImageProcessorPil(size=_SIZE, max_image_tiles=1))


def qwen3_vl(path):
    control = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    f = _Folder(path, control, image="<|vision_start|><|image_pad|><|vision_end|>")
    config = transformers.Qwen3VLConfig(
        text_config=f.text("qwen3_vl_text", rope_parameters={**_ROPE, "mrope_interleaved": True}),
        vision_config={**_GRID, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 16},
        image_token_id=f.id("<|image_pad|>"),
        video_token_id=f.id("<|video_pad|>"),
        vision_start_token_id=f.id("<|vision_start|>"),
        vision_end_token_id=f.id("<|vision_end|>"),
    )
    part = transformers.Qwen2VLImageProcessorPil(patch_size=7, size=_EDGES)
    f.save(transformers.Qwen3VLForConditionalGeneration(config), "Qwen3VLProcessor", part)


def glm4v(path):
    control = ("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>", "<|image|>", "<|video|>")
    f = _Folder(path, control, image="<|begin_of_image|><|image|><|end_of_image|>")
    keys = ("image_start_token_id", "image_end_token_id", "video_start_token_id", "video_end_token_id", "image_token_id", "video_token_id")
    ids = {key: f.id(token) for key, token in zip(keys, control, strict=True)}
    config = transformers.Glm4vConfig(
        text_config=f.text("glm4v_text", rope_parameters=_ROPE), vision_config={**_GRID, "image_size": 28}, **ids
    )
    part = transformers.Glm4vImageProcessorPil(patch_size=7, size=_EDGES)
    f.save(transformers.Glm4vForConditionalGeneration(config), "Glm4vProcessor", part)


def audio_flamingo_3(path, prefix="AudioFlamingo3", kind="audioflamingo3_encoder", **named):
    f = _Folder(path, ["<sound>"], audio="<sound>", **named)
    config = getattr(transformers, f"{prefix}Config")(
        text_config=f.text(), audio_config={"model_type": kind, **_MEL}, audio_token_id=f.id("<sound>")
    )
    part = transformers.WhisperFeatureExtractor(feature_size=16)
    f.save(getattr(transformers, f"{prefix}ForConditionalGeneration")(config), f"{prefix}Processor", part, audio_token="<sound>")


def glm_asr(path):
    audio_flamingo_3(path, "GlmAsr", "glmasr_encoder")


MODELS = {
    f.__name__: f
    for f in (
        llava,
        vipllava,
        llava_next,
        llava_next_video,
        video_llava,
        internvl,
        idefics2,
        idefics3,
        smolvlm,
        gemma3,
        gemma4,
        aya_vision,
        ovis2,
        mllama,
        qwen3_vl,
        glm4v,
        audio_flamingo_3,
        glm_asr,
    )
}


@cache
def folder_of(name, parent):
    """The folder of one model, made once per parent."""
    folder = Path(parent) / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(zlib.crc32(name.encode()))
    MODELS[name](folder)
    return folder
