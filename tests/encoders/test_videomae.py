"""VideoMAE: parity with the published preprocessing and network, tubelet times, fill of the last chunk, errors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEImageProcessorPil, VideoMAEModel

from unifusion.conversation import Clip
from unifusion.encoders.encoder import weights_hash
from unifusion.encoders.videomae import VideoMAE
from unifusion.errors import CheckpointError, ConfigError, MediaError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def clip(n, height=40, width=60, rate=4.0, seed=0):
    frames = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return Clip(frames_THWC=frames, frame_times_s=np.arange(n) / rate, duration_s=n / rate)


def tiny(**changes):
    return VideoMAE.resolve(replace(VideoMAE.tiny(), **changes))


@pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 33), (32, 32), (33, 32), (20, 24), (150, 97)])
def test_centre_crop_equals_the_published_processor(height, width):
    config = tiny(crop="center")
    given = clip(4, height, width)
    published = VideoMAEImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=list(MEAN), image_std=list(STD)
    )
    expected = published(list(given.frames_THWC), return_tensors="pt")["pixel_values"]
    found = VideoMAE.preprocess(config, given).tensors["pixel_values"]
    torch.testing.assert_close(found, expected.float(), atol=1e-4, rtol=0)


def test_larger_short_side_and_other_statistics_equal_the_published_processor():
    config = tiny(crop="center", short_side=40, image_mean=(0.5, 0.4, 0.3), image_std=(0.2, 0.3, 0.4))
    published = VideoMAEImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]
    )
    given = clip(4, 60, 90)
    expected = published(list(given.frames_THWC), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(VideoMAE.preprocess(config, given).tensors["pixel_values"], expected.float(), atol=1e-4, rtol=0)


def test_squash_keeps_the_sides_that_a_centre_crop_loses():
    frames = np.zeros((4, 32, 96, 3), np.uint8)
    frames[:, :, :16] = 255
    given = Clip(frames_THWC=frames, frame_times_s=np.arange(4) / 4)
    white = {}
    for crop in ("squash", "center"):
        pixels = VideoMAE.preprocess(tiny(crop=crop), given).tensors["pixel_values"]
        white[crop] = float((pixels > 1).float().mean())
    assert white["squash"] == pytest.approx(1 / 6, abs=0.04) and white["center"] == 0


def test_defaults_depend_on_where_the_network_comes_from():
    inline = tiny()
    assert (inline.crop, inline.short_side, inline.image_mean, inline.image_std) == ("squash", 32, MEAN, STD)


def test_features_equal_transformers():
    encoder = VideoMAE.build(VideoMAE.tiny()).eval()
    reference = VideoMAEModel(VideoMAEConfig(**VideoMAE.tiny().backbone)).eval()
    reference.load_state_dict(encoder.backbone.state_dict())
    given = VideoMAE.preprocess(encoder.config, clip(8))
    with torch.no_grad():
        found = encoder(chunks=torch.tensor([2]), times=given.times_S[None], mask=given.mask_S[None], **given.tensors)
        expected = reference(pixel_values=given.tensors["pixel_values"]).last_hidden_state
    torch.testing.assert_close(found.tokens_BSD[0], expected.flatten(0, 1))


def test_times_are_the_mean_of_a_tubelets_real_frames_and_padding_is_masked():
    given = VideoMAE.preprocess(tiny(), clip(5))  # chunks of 4: frames 0..3, then frame 4 four times over
    assert given.tensors["pixel_values"].shape == (2, 4, 3, 32, 32) and given.frames == 5
    pixels = given.tensors["pixel_values"].flatten(0, 1)
    assert all(torch.equal(pixels[4], pixels[i]) for i in (5, 6, 7)) and not torch.equal(pixels[3], pixels[4])
    assert given.times_S.view(4, 4)[:, 0].tolist() == [0.125, 0.625, 1.0, 1.0], "4 patches a tubelet, the third holds one real frame"
    assert (given.times_S.view(4, 4) == given.times_S.view(4, 4)[:, :1]).all()
    assert given.mask_S.view(4, 4).all(dim=1).tolist() == [True, True, True, False] == given.mask_S.view(4, 4).any(dim=1).tolist()


def test_token_order_is_tubelet_by_tubelet():
    """Changing the last two frames of a chunk changes the second half of the patch embeddings only."""
    encoder = VideoMAE.build(VideoMAE.tiny()).eval()
    pixels = VideoMAE.preprocess(encoder.config, clip(4)).tensors["pixel_values"]
    changed = pixels.clone()
    changed[:, 2:] += 1
    embed = encoder.backbone.embeddings.patch_embeddings
    difference = (embed(pixels) - embed(changed)).abs().amax(dim=-1)[0]
    assert (difference[:4] == 0).all() and (difference[4:] > 0).all()


def test_variable_rate_times_are_kept():
    given = replace(clip(4), frame_times_s=np.array([0.0, 0.1, 0.9, 1.5]))
    assert VideoMAE.preprocess(tiny(), given).times_S.unique().tolist() == pytest.approx([0.05, 1.2])


def test_a_still_is_one_tubelet():
    given = VideoMAE.preprocess(tiny(), clip(1))
    assert int(given.mask_S.sum()) == 4 and given.seconds == pytest.approx(0.25)


def test_another_number_of_frames_is_refused_with_both_numbers():
    encoder = VideoMAE.build(VideoMAE.tiny())
    with pytest.raises(ConfigError, match=r"\(1, 8, 3, 32, 32\), wanted \(C, 4, 3, 32, 32\)"):
        encoder.encode_chunks(pixel_values=torch.zeros(1, 8, 3, 32, 32))


def test_no_frames_is_a_media_error():
    with pytest.raises(MediaError, match="no picture"):
        VideoMAE.preprocess(tiny(), Clip(frames_THWC=np.zeros((0, 8, 8, 3), np.uint8), frame_times_s=np.zeros(0)))


def test_short_side_below_the_network_is_refused():
    with pytest.raises(ConfigError, match="short_side is 16"):
        VideoMAE.preprocess(tiny(crop="center", short_side=16), clip(4))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder as on the hub: a pre-training checkpoint (encoder under a prefix, decoder beside it) and its preprocessing."""
    folder = tmp_path_factory.mktemp("videomae")
    torch.manual_seed(5)
    model = VideoMAEForPreTraining(
        VideoMAEConfig(**VideoMAE.tiny().backbone, decoder_hidden_size=16, decoder_num_attention_heads=2, decoder_num_hidden_layers=1)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("query.bias", "value.bias")):
                parameter.fill_(7.0)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}))
    return folder, model


def test_weights_and_preprocessing_come_from_a_folder(published):
    folder, model = published
    encoder = VideoMAE.build(VideoMAE.Config(source=str(folder)))
    assert weights_hash(encoder.backbone) == weights_hash(model.videomae)
    bias = [p for n, p in encoder.named_parameters() if n.endswith("query.bias")]
    assert bias and all((p == 7).all() for p in bias), "q and v biases have other names in the file"
    config = encoder.config
    assert (config.crop, config.image_mean, config.image_std) == ("center", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert config.backbone["hidden_size"] == 16 and config.backbone["num_frames"] == 4


def test_weights_can_come_later(published):
    folder, model = published
    encoder = VideoMAE.build(VideoMAE.Config(source=str(folder)), load_weights=False)
    assert weights_hash(encoder.backbone) != weights_hash(model.videomae)
    encoder.load_source()
    assert weights_hash(encoder.backbone) == weights_hash(model.videomae)


def test_a_folder_without_preprocessing_says_so(published, tmp_path, caplog):
    published[1].videomae.save_pretrained(tmp_path)
    config = VideoMAE.resolve(VideoMAE.Config(source=str(tmp_path)))
    assert config.image_mean == MEAN and "has no preprocessor_config.json" in caplog.text


def test_a_checkpoint_that_lacks_weights_is_refused(published, tmp_path):
    from safetensors.torch import load_file, save_file

    published[1].videomae.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    dropped = next(k for k in state if "projection.weight" in k)
    save_file({k: v for k, v in state.items() if k != dropped}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights of VideoMAEModel: embeddings\.patch_embeddings"):
        VideoMAE.build(VideoMAE.Config(source=str(tmp_path)))
