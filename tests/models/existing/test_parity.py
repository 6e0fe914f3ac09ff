"""Ids and inputs are those of the models' own processors, wherever these can be had without torchvision."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from transformers import Qwen2VLImageProcessorPil, VideoLlama3ImageProcessorPil

from tests.existing import MODELS, TAKES
from tests.models.existing.test_native import SOUND
from tests.toys import clip, talk, video
from unifusion.conversation import Clip, Media
from unifusion.models.existing.patches import Patching, normalised, resized, smart_size

PROCESSORS = {
    "qwen2_5_omni": "Qwen2_5OmniProcessor", "qwen3_omni": "Qwen3OmniMoeProcessor", "video_llama_3": "VideoLlama3Processor",
    "llava_onevision": "LlavaOnevisionProcessor", "qwen2_vl": "Qwen2VLProcessor", "qwen2_5_vl": "Qwen2_5_VLProcessor",
}  # fmt: skip


def prompted(engine, media, question="What is it?"):
    """A prompt with its clips opened, not encoded."""
    opened = [engine.processor.open(m) for m in media]
    return engine.processor.row(talk(media, question), opened=opened, generate=True)


def rendered(engine, kind, question="What is it?"):
    """The prompt that the model's own template writes."""
    content = [{"type": kind, kind: "clip"}, {"type": "text", "text": question}]
    asked = [{"role": "user", "content": content}]
    return engine.processor.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)


def own(engine, name):
    """The model's own processor as far as it goes without torchvision: how it writes placeholders."""
    made = object.__new__(getattr(transformers, PROCESSORS[name]))
    tokenizer, family = engine.processor.tokenizer, engine.processor.family
    made.tokenizer, made.image_processor = tokenizer, family.stills
    made.video_processor = SimpleNamespace(merge_size=2, temporal_patch_size=2)
    for kind, token in engine.processor.template.placeholders.items():
        setattr(made, f"{kind}_token", token)
    made.audio_bos_token, made.audio_eos_token = "<|audio_bos|>", "<|audio_eos|>"
    if name == "llava_onevision":
        made.num_image_tokens, made.vision_feature_select_strategy, made.vision_aspect_ratio = 16, "full", "anyres_max_9"
    return made


@pytest.mark.parametrize("name", ["qwen2_audio"])
def test_the_whole_processor_of_qwen2_audio(engines, folders, name):
    engine = engines(name)
    theirs = transformers.Qwen2AudioProcessor.from_pretrained(folders(name))
    row = prompted(engine, [SOUND])
    wanted = theirs(text=rendered(engine, "audio"), audio=[SOUND.source.waveform_N], sampling_rate=16_000, return_tensors="pt")
    assert row.ids == wanted["input_ids"][0].tolist()
    item = row.media[0].streams["audio"]
    assert torch.equal(item.tensors["mels"], wanted["input_features"])
    assert torch.equal(item.tensors["mask"], wanted["feature_attention_mask"])
    assert engine.processor.template.wrap("audio", 2).before == "Audio 2: <|audio_bos|>"


@pytest.mark.parametrize("name", sorted(PROCESSORS))
def test_a_still_is_that_of_the_own_processor(engines, name):
    engine = engines(name)
    for size, seed in ((50, 1), (97, 2)):
        frames = np.random.default_rng(seed).integers(0, 255, (1, size, size * 2, 3), dtype=np.uint8)
        media = Media(kind="image", source=Clip(frames_THWC=frames, frame_times_s=np.zeros(1), duration_s=0.1))
        row = prompted(engine, [media])
        found = engine.processor.family.stills.preprocess(frames[0], return_tensors="pt")
        assert torch.equal(row.media[0].streams["video"].tensors["pixels"], found["pixel_values"])
        theirs = own(engine, name)
        text = rendered(engine, "image").replace(theirs.image_token, theirs.replace_image_token(found, 0))
        assert row.ids == engine.processor.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", sorted(set(MODELS) & set(PROCESSORS)))
@pytest.mark.parametrize("sound", [False, True])
def test_a_videos_tokens_are_those_of_the_own_processor(engines, name, sound):
    engine = engines(name)
    if sound and "audio" not in TAKES[name]:
        pytest.skip("no sound")
    for seconds in (0.4, 3.0, 4.3):
        row = prompted(engine, [video(seed=1, seconds=seconds, sound=sound)])
        tensors, theirs = row.media[0].streams["video"].tensors, own(engine, name)
        options = {"load_audio_from_video": sound, "video_to_audio_indices": [0], "position_id_per_seconds": 25, "seconds_per_chunk": 2.0}
        if name == "llava_onevision":
            given = {"pixel_values_videos": tensors["pixels"]}
        else:
            given = {"video_grid_thw": tensors["grid"]}
        if name == "video_llama_3":
            metadata = SimpleNamespace(fps=2.0, timestamps=tensors["times"].tolist())
            given |= {"video_merge_sizes": torch.tensor([2]), "video_compression_mask": tensors["kept"].flatten()}
            given["video_metadata"] = [metadata]
        if "omni" in name:
            options["position_id_per_seconds"] = 13.0 if name == "qwen3_omni" else 25
            given["video_second_per_grid"] = tensors["step_s"].tolist()
            if sound:
                options["processed_audio"] = {"num_audio_tokens": [row.media[0].reports["audio"].tokens]}
        text = rendered(engine, "video").replace(theirs.video_token, theirs.replace_video_token(given, 0, **options))
        assert row.ids == engine.processor.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_talk_is_written_as_the_template_writes_it(engines, name):
    engine = engines(name)
    asked = [{"role": r, "content": [{"type": "text", "text": t}]} for r, t in (("system", "Be brief."), ("user", "Hi"))]
    wanted = engine.processor.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    session = engine.session(system="Be brief.")
    session._begin_turn("Hi")
    assert engine.processor.tokenizer.decode(session.row.ids) == wanted


@pytest.mark.parametrize("kind", [Qwen2VLImageProcessorPil, VideoLlama3ImageProcessorPil])
def test_patches_of_a_video_are_those_of_its_frames_as_stills(kind):
    """Where nothing needs resizing, each frame held twice gives what the Pillow class gives for that frame."""
    frames = clip(seconds=0.5, size=56, rate_hz=4.0).frames_THWC
    temporal = 2 if kind is Qwen2VLImageProcessorPil else 1
    settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "merge_size": 2}
    patching = Patching.of(settings, size=(784, 10**6), patch=14, temporal=temporal)
    rows, grid, cramped = patching.frames(np.repeat(frames, temporal, 0), 10_000)
    stills = kind(**settings, patch_size=14, size={"shortest_edge": 784, "longest_edge": 10**6})
    wanted = torch.cat([stills.preprocess(frame, return_tensors="pt")["pixel_values"] for frame in frames])
    assert grid.tolist() == [[2, 4, 4]] and not cramped
    assert torch.allclose(rows, wanted, atol=1e-5)


def test_resizing_is_near_pillows_and_keeps_bytes():
    """torchvision's bicubic on bytes, which videos are resized by as published, and Pillow's differ by rounding only."""
    from PIL import Image

    smooth = np.array(Image.fromarray(clip(size=8).frames_THWC[0]).resize((90, 60), Image.Resampling.BICUBIC))
    found = resized(torch.from_numpy(smooth).permute(2, 0, 1)[None], (28, 42), 3)
    wanted = np.asarray(Image.fromarray(smooth).resize((42, 28), Image.Resampling.BICUBIC))
    assert found.dtype == torch.uint8
    assert np.abs(found[0].permute(1, 2, 0).numpy().astype(int) - wanted).max() <= 2
    assert torch.equal(resized(found, (28, 42), 2), found)
    half = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    assert torch.allclose(normalised(found, half), (found.float() / 255 - 0.5) / 0.25, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (1080, 1920), (5, 700), (333, 77)])
def test_sizes_are_the_published_ones(height, width):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    for least, most in ((3136, 10**6), (100_352, 602_112), (784, 3000)):
        assert smart_size(height, width, factor=28, least=least, most=most) == smart_resize(height, width, 28, least, most)


def test_tokens_that_do_not_change_are_left_out(engines):
    engine = engines("video_llama_3")
    moving = clip(seconds=2.0, seed=1, size=112)
    frames = np.repeat(moving.frames_THWC[:1], len(moving.frames_THWC), 0)
    frames[8:, :30, :30] = 0  # one corner changes at one second
    media = Media(kind="video", source=Clip(frames_THWC=frames, frame_times_s=moving.frame_times_s, duration_s=2.0))
    opened = engine.processor.open(media)
    kept = opened.streams["video"].tensors["kept"]
    assert kept[0].all() and kept[1].tolist() == [True] + [False] * (kept.shape[1] - 1)
    assert 0 < int(kept[2].sum()) < kept.shape[1]
    assert any("does not change" in note for note in opened.notes)
    assert len(engine.encode(opened).streams["video"].tokens_SD) == int(kept.sum())


def test_sound_that_begins_late_stays_late(engines):
    late = clip(seconds=2.0, seed=1, picture=False)
    media = Media(kind="audio", source=Clip(waveform_N=late.waveform_N[16_000:], waveform_start_s=1.0, duration_s=2.0))
    assert engines("qwen2_audio").processor.open(media).reports["audio"].samples == 32_000
