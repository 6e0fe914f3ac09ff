"""Our pass gives what the network's own forward gives, with its own positions, from the same ids and pixels."""

import pytest
import torch

from tests.toys import clip, talk, video
from unifusion.conversation import Media


def still(seed=3):
    return Media(kind="image", source=clip(seconds=0.2, seed=seed, rate_hz=5.0, sound=False, size=50))


SOUND = Media(kind="audio", source=clip(seed=4, seconds=1.3))
SHOWN = {
    "both": ([video(seed=1, seconds=3.1)], True),
    "silent": ([video(seed=2, sound=False, seconds=2.0)], False),
    "sound": ([SOUND], False),
    "still": ([still()], False),
    "apart": ([still(), video(seed=5, picture=False), video(seed=6, sound=False, seconds=1.7), still(7)], False),
    "twice": ([video(seed=7, seconds=1.6), SOUND, still(), video(seed=8, seconds=4.0)], True),
    "text": ([], False),
}


def native_inputs(name, row, woven, placeholders):
    """Arguments of the network's own forward."""
    inputs = {"input_ids": torch.tensor([row.ids]), "attention_mask": torch.ones(1, len(row.ids), dtype=torch.long)}
    found = {}
    for opened in row.media:
        for stream, item in opened.streams.items():
            kind = "image" if stream == "video" and opened.media.kind == "image" else stream
            found.setdefault(kind, []).append(item.tensors)
    if "audio" in found:
        longest = max(t["mels"].shape[-1] for t in found["audio"])
        grow = torch.nn.functional.pad
        inputs["input_features"] = torch.cat([grow(t["mels"], (0, longest - t["mels"].shape[-1])) for t in found["audio"]])
        inputs["feature_attention_mask"] = torch.cat([grow(t["mask"], (0, longest - t["mask"].shape[-1])) for t in found["audio"]])
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if kind in found:
            inputs[pixels] = torch.cat([t["pixels"] for t in found[kind]])
            if "grid" in found[kind][0]:
                inputs[f"{kind}_grid_thw"] = torch.cat([t["grid"] for t in found[kind]])
            if "merge" in found[kind][0]:
                inputs[f"{kind}_merge_sizes"] = torch.cat([t["merge"] for t in found[kind]])
    if "image" in found and "size" in found["image"][0]:
        inputs["image_sizes"] = torch.cat([t["size"] for t in found["image"]])
    if "video" in found and "kept" in found["video"][0]:
        inputs["video_compression_mask"] = torch.cat([t["kept"].flatten() for t in found["video"]])
    if "omni" in name and "video" in found:
        inputs["video_second_per_grid"] = torch.cat([t["step_s"] for t in found["video"]])
        inputs["use_audio_in_video"] = woven
    if "_vl" in name:
        ids = inputs["input_ids"]
        inputs["mm_token_type_ids"] = (ids == placeholders["image"]).long() + 2 * (ids == placeholders["video"]).long()
    if name == "qwen2_5_vl" and "video" in found:
        inputs["second_per_grid_ts"] = torch.cat([t["step_s"] for t in found["video"]])
    return inputs


def pixels_of_one_size(name, shown):
    """LLaVA-OneVision stacks pixels: videos must have one length there, which ours need not."""
    return name == "llava_onevision" and shown in ("apart", "twice")


@pytest.mark.parametrize("shown", SHOWN)
def test_logits_are_the_networks_own(engine, name, shown):
    media, woven = SHOWN[shown]
    usable = [m for m in media if name != "qwen2_audio" or (m.kind != "image" and m.source.waveform_N is not None)]
    usable = [m for m in usable if "omni" in name or name == "qwen2_audio" or (m.source.frames_THWC is not None and m.kind != "audio")]
    if (media and not usable) or pixels_of_one_size(name, shown):
        pytest.skip("the model takes none of these, or its own forward cannot")
    opened = [engine.processor.open(m) for m in usable]
    row = engine.processor.row(talk(usable, "what is it?"), opened=opened, generate=True)
    with torch.no_grad():
        wanted = engine.model.network(**native_inputs(name, row, woven, engine.processor.placeholder_ids)).logits
    row.media = [engine.encode(o) for o in opened]
    found = engine.model.logits(engine.processor.collate([row]))
    assert torch.allclose(found, wanted, atol=2e-4), float((found - wanted).abs().max())


@pytest.mark.parametrize("name", ["qwen2_5_omni", "qwen3_omni"])
@pytest.mark.parametrize("shown", ["both", "silent", "still", "apart", "twice"])
def test_positions_are_the_networks_own(engines, name, shown):
    engine, (media, woven) = engines(name), SHOWN[shown]
    opened = [engine.processor.open(m) for m in media]
    row = engine.processor.row(talk(media, "what is it?"), opened=opened, generate=True)
    inputs = native_inputs(name, row, woven, engine.processor.placeholder_ids)
    told = {k: inputs[k] for k in ("input_ids", "attention_mask", "image_grid_thw", "video_grid_thw") if k in inputs}
    lengths = inputs["feature_attention_mask"].sum(-1) if "feature_attention_mask" in inputs else None
    wanted, _ = engine.model.network.get_rope_index(
        **told, use_audio_in_video=woven, audio_seqlens=lengths, second_per_grids=inputs.get("video_second_per_grid")
    )
    assert torch.allclose(engine.processor.positions(row), wanted[:, 0].float(), atol=1e-5)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("seconds", [1.0, 9.0])
def test_positions_of_pictures_are_the_networks_own(engines, name, seconds):
    engine = engines(name)
    media = [still(), video(seed=5, sound=False, seconds=seconds), still(7)]
    row = engine.processor.row(talk(media, "what is it?"), opened=[engine.processor.open(m) for m in media], generate=True)
    inputs = native_inputs(name, row, False, engine.processor.placeholder_ids)
    told = {k: v for k, v in inputs.items() if not k.startswith("pixel")}
    wanted, _ = engine.model.network.model.get_rope_index(**told)
    assert torch.equal(engine.processor.positions(row), wanted[:, 0].float())


@pytest.mark.parametrize("name", ["qwen2_5_omni", "qwen3_omni"])
def test_positions_of_a_talk_that_mixes_clips_with_and_without_sound(engines, name):
    """The networks' own function takes one flag for a whole batch; ours counts clip by clip, each as that function would alone."""
    engine = engines(name)
    media = [video(seed=1, seconds=2.5), video(seed=2, sound=False, seconds=2.0), SOUND]
    row = engine.processor.row(talk(media, "so?"), opened=[engine.processor.open(m) for m in media], generate=True)
    places = engine.processor.positions(row)
    assert places.shape == (3, len(row.ids))
    for n, start in enumerate(row.starts):
        own, _ = engine.processor._places(row, n)
        alone = engine.processor.row(talk([media[n]], "so?"), opened=[row.media[n]], generate=True)
        first = engine.processor.positions(alone)[:, alone.starts[0] :][:, : own.shape[1]]
        assert torch.allclose(first - first[:, :1], own - own[:, :1])
        assert torch.allclose(places[:, start : start + own.shape[1]] - places[:, start : start + 1], own - own[:, :1])
    assert bool((places[0, -8:].diff() == 1).all())
