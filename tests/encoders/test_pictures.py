"""Picture encoders from a saved model: pixels as its published processor makes them, tokens as its network gives them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as hf

from unifusion import catalog
from unifusion.conversation import Clip
from unifusion.errors import ConfigError

TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
VIT = {"image_size": 32, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CROP = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
CONV = {"hidden_sizes": [8, 16], "depths": [1, 1]}
CLIP_TEXT = {**TEXT, "max_position_embeddings": 8, "projection_dim": 8}


def clip_model():
    return hf.CLIPModel(hf.CLIPConfig(text_config=CLIP_TEXT, vision_config=VIT, projection_dim=8))


def siglip_model():
    return hf.SiglipModel(hf.SiglipConfig(text_config={**TEXT, "max_position_embeddings": 8}, vision_config=VIT))


def xclip_model():
    mit = {f"mit_{k}": v for k, v in TEXT.items() if k != "vocab_size"}
    return hf.XCLIPModel(hf.XCLIPConfig(text_config=CLIP_TEXT, vision_config={**VIT, **mit, "num_frames": 4}, projection_dim=8))


def states(part, pick):
    return lambda model, x: pick(getattr(model, part)(x, output_hidden_states=True))


def by_frame(patch_major):
    return patch_major.reshape(-1, 4, 4, 16).transpose(1, 2).flatten(1, 2)


MODELS = {
    "clip": (clip_model, hf.CLIPImageProcessorPil(**CROP), states("vision_model", lambda o: o.hidden_states[-1][:, 1:])),
    "siglip": (
        siglip_model,
        hf.SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        states("vision_model", lambda o: o.last_hidden_state),
    ),
    "vit": (
        lambda: hf.ViTForImageClassification(hf.ViTConfig(**VIT)),
        hf.ViTImageProcessorPil(size={"height": 32, "width": 32}),
        states("vit", lambda o: o.last_hidden_state[:, 1:]),
    ),
    "dinov2": (
        lambda: hf.Dinov2ForImageClassification(
            hf.Dinov2Config(image_size=56, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2)
        ),
        hf.BitImageProcessorPil(
            **{**CROP, "size": {"shortest_edge": 40}}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
        ),
        states("dinov2", lambda o: o.last_hidden_state[:, 1:]),
    ),
    "convnext": (
        lambda: hf.ConvNextForImageClassification(hf.ConvNextConfig(image_size=32, num_stages=2, **CONV)),
        hf.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.8),
        lambda model, x: model.convnext.layernorm(model.convnext(x).last_hidden_state.flatten(2).transpose(1, 2)),
    ),
    "resnet": (
        lambda: hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=8, layer_type="basic", **CONV)),
        hf.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.8),
        lambda model, x: model.resnet(x).last_hidden_state.flatten(2).transpose(1, 2),
    ),
    "videomae": (
        lambda: hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**VIT, num_frames=4, use_mean_pooling=False)),
        hf.VideoMAEImageProcessorPil(**CROP),
        lambda model, x: model.videomae(x.unflatten(0, (-1, 4))).last_hidden_state,
    ),
    "timesformer": (
        lambda: hf.TimesformerForVideoClassification(hf.TimesformerConfig(**VIT, num_frames=4)),
        hf.VideoMAEImageProcessorPil(**CROP, image_mean=[0.45] * 3, image_std=[0.225] * 3),
        lambda model, x: by_frame(model.timesformer(x.unflatten(0, (-1, 4))).last_hidden_state[:, 1:]),
    ),
    "xclip": (xclip_model, hf.VideoMAEImageProcessorPil(**CROP), states("vision_model", lambda o: o.last_hidden_state[:, 1:])),
}  # fmt: skip


def clip(n=8, height=45, width=61, rate=4.0):
    frames = np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return Clip(frames_THWC=frames, frame_times_s=np.arange(n) / rate, duration_s=n / rate)


def test_every_picture_encoder_is_compared():
    video = {n for n in catalog.names("encoders") if catalog.load("encoders", n).modality == "video"}
    assert set(MODELS) == video - {"cav_mae_video"}, "transformers has not that one; see test_cav_mae"


@pytest.fixture(scope="module", params=sorted(MODELS))
def saved(request, tmp_path_factory):
    make, processor, tokens = MODELS[request.param]
    torch.manual_seed(0)
    model, folder = make().eval(), tmp_path_factory.mktemp(request.param)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return request.param, folder, model, processor, tokens


def build(name, folder, **choices):
    cls = catalog.load("encoders", name)
    size = {"image_size": 32} if name == "resnet" else {}
    return cls.build(cls.Config(source=str(folder), **size, **choices)).eval()


def test_pixels_and_tokens_are_those_of_the_published_model(saved):
    name, folder, model, processor, tokens = saved
    encoder, given = build(name, folder), clip()
    expected = processor(list(given.frames_THWC), return_tensors="pt")["pixel_values"].float()
    prepared = encoder.preprocess(encoder.config, given)
    found = prepared.tensors["pixel_values"]
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-4, rtol=0)
    with torch.no_grad():
        wanted = tokens(model, expected.flatten(0, 1) if expected.dim() == 5 else expected)
        torch.testing.assert_close(encoder.encode_chunks(found).reshape(wanted.shape), wanted, atol=2e-5, rtol=1e-4)
    assert len(prepared.times_S) == wanted.shape[0] * wanted.shape[1] and torch.equal(prepared.times_S.sort().values, prepared.times_S)


def test_the_way_of_preparing_is_kept_in_the_config_and_needs_the_folder_no_more(saved, tmp_path):
    name, folder, *_ = saved
    cls = catalog.load("encoders", name)
    config = build(name, folder).config
    assert None not in (config.crop, config.short_side, config.resample, config.image_mean, config.image_std)
    moved = replace(config, source=str(tmp_path / "gone"))
    assert cls.resolve(moved) == moved
    a, b = (cls.preprocess(c, clip()).tensors["pixel_values"] for c in (config, moved))
    assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["clip", "siglip", "vit", "dinov2"])
def test_an_earlier_layer_and_other_tokens(name, tmp_path):
    make, processor, _ = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    tower = {"clip": "vision_model", "siglip": "vision_model", "vit": "vit", "dinov2": "dinov2"}[name]
    encoder = build(name, tmp_path, layer=-2)
    pixels = encoder.preprocess(encoder.config, clip(2)).tensors["pixel_values"]
    with torch.no_grad():
        states = getattr(model, tower)(pixels, output_hidden_states=True).hidden_states[-2]
        first = 0 if name == "siglip" else 1
        torch.testing.assert_close(encoder.encode_chunks(pixels), states[:, first:], atol=1e-5, rtol=1e-5)
        if name == "siglip":
            with pytest.raises(ConfigError, match="no class token"):
                build(name, tmp_path, tokens="class")
            return
        for tokens, wanted in (("class", states[:, :1]), ("all", states)):
            other = build(name, tmp_path, layer=-2, tokens=tokens)
            torch.testing.assert_close(other.encode_chunks(pixels), wanted, atol=1e-5, rtol=1e-5)
            assert len(other.preprocess(other.config, clip(2)).times_S) == 2 * wanted.shape[1]
    with pytest.raises(ConfigError, match=r"layer -9 .* -1 \(the last\)"):
        build(name, tmp_path, layer=-9)


@pytest.mark.parametrize("name", ["clip", "siglip", "vit", "dinov2"])
def test_another_picture_size_interpolates_the_positions(name):
    cls = catalog.load("encoders", name)
    config = replace(cls.tiny(), image_size=48)
    encoder = cls.build(config).eval()
    given = cls.preprocess(encoder.config, clip(1))
    assert encoder.encode_chunks(**given.tensors).shape == (1, 9, 16) and len(given.times_S) == 9
    with pytest.raises(ConfigError, match=r"image_size 40 .*; set it to 32"):
        cls.resolve(replace(cls.tiny(), image_size=40))


def test_pixels_of_another_size_are_refused(saved):
    name, folder, *_ = saved
    encoder = build(name, folder)
    pixels = encoder.preprocess(encoder.config, clip(4)).tensors["pixel_values"]
    with pytest.raises(ConfigError, match=r"wanted \(C, "):
        encoder.encode_chunks(pixels[..., :-8])


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"resample": "cubic"}, "resample is 'cubic'"),
        ({"crop": "middle"}, "crop 'middle'"),
        ({"crop": "center", "short_side": 16}, "short_side is 16, below"),
    ],
)
def test_choices_no_picture_can_be_prepared_by(choices, told):
    cls = catalog.load("encoders", "vit")
    with pytest.raises(ConfigError, match=told):
        cls.resolve(replace(cls.tiny(), **choices))
