"""CLAP from a saved model: pictures as its published extractor makes them, tokens as its network gives them, at 48 kHz."""

import numpy as np
import pytest
import torch
import transformers as hf

from unifusion.conversation import Clip
from unifusion.encoders.clap import CLAP
from unifusion.errors import ConfigError, MediaError

SHAPE = {
    "window_size": 2, "num_mel_bins": 16, "spec_size": 32, "patch_size": 4, "patch_stride": [4, 4], "hidden_size": 16,
    "depths": [1, 1], "num_attention_heads": [2, 2], "patch_embeds_hidden_size": 8, "num_hidden_layers": 2,
}  # fmt: skip
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
MEL = {"feature_size": 16, "hop_length": 480, "max_length_s": 0.62, "fft_window_size": 1024}


def clip(seconds, start=0.0, rate=48_000):
    sound = np.random.default_rng(0).normal(0, 0.1, round(rate * seconds)).astype(np.float32)
    return Clip(waveform_N=sound, sampling_rate_hz=rate, waveform_start_s=start, duration_s=start + seconds)


@pytest.fixture(scope="module", params=["rand_trunc", "fusion"])
def saved(request, tmp_path_factory):
    torch.manual_seed(0)
    fused = {"enable_fusion": True} if request.param == "fusion" else {}
    model = hf.ClapModel(hf.ClapConfig(text_config=TEXT, audio_config={**SHAPE, **fused}, projection_dim=8)).eval()
    folder = tmp_path_factory.mktemp("clap")
    extractor = hf.ClapFeatureExtractor(**MEL, truncation=request.param)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder, model, extractor


@pytest.mark.parametrize("seconds", [0.62, 0.2])
def test_pictures_and_tokens_are_those_of_the_published_model(saved, seconds):
    folder, model, extractor = saved
    encoder, given = CLAP.build(CLAP.Config(source=str(folder))).eval(), clip(seconds)
    expected = extractor(given.waveform_N, sampling_rate=48_000, max_length=29_760, return_tensors="pt")["input_features"].float()
    prepared = encoder.preprocess(encoder.config, given)
    torch.testing.assert_close(prepared.tensors["input_features"], expected)
    with torch.no_grad():
        out = model.audio_model(expected, is_longer=torch.zeros(1, 1, dtype=torch.bool))
        tokens = encoder.encode_chunks(expected)
        torch.testing.assert_close(tokens, out.last_hidden_state.mean(dim=2).transpose(1, 2))
        torch.testing.assert_close(tokens.mean(dim=1), out.pooler_output)
    assert tokens.shape == (1, 8, 16) and int(prepared.mask_S.sum()) == round(8 * seconds / 0.62)


def test_published_sizes_have_32_tokens_in_ten_seconds():
    config = CLAP.resolve(CLAP.Config(backbone={"hidden_size": 768}))
    assert CLAP.steps(config) == 32 and CLAP.rate_hz(config) == 48_000 and config.mel["max_length_s"] == 10
    network = CLAP.make_backbone(config, load_weights=False)
    with torch.no_grad():
        grid = network(torch.zeros(1, 1, 1001, 64), is_longer=torch.zeros(1, 1, dtype=torch.bool)).last_hidden_state
    assert grid.shape == (1, 768, 2, 32)


def test_tokens_follow_the_sound_in_time(saved):
    """A burst late in the chunk changes late tokens most: the folded picture is unfolded in the right order."""
    folder, *_ = saved
    encoder = CLAP.build(CLAP.Config(source=str(folder))).eval()
    quiet = clip(0.62)
    where = []
    for at in (0.05, 0.2, 0.35, 0.5):
        loud = quiet.waveform_N.copy()
        loud[round(48_000 * at) : round(48_000 * (at + 0.03))] *= 40
        with torch.no_grad():
            moved = [
                encoder.encode_chunks(**encoder.preprocess(encoder.config, Clip(waveform_N=w, sampling_rate_hz=48_000)).tensors)
                for w in (quiet.waveform_N, loud)
            ]
        change_S = (moved[0] - moved[1]).abs().sum(dim=-1)[0]
        where.append(int(change_S.argmax()))
    assert where == sorted(where) and where[0] <= 2 and where[-1] >= 5


def test_long_sound_is_cut_and_heard_the_same_each_time(saved):
    folder, *_ = saved
    encoder, given = CLAP.build(CLAP.Config(source=str(folder))).eval(), clip(1.5, start=0.25)
    prepared = encoder.preprocess(encoder.config, given)
    assert len(prepared.tensors["input_features"]) == 3 and len(prepared.times_S) == 24
    assert torch.all(prepared.times_S.diff() > 0) and float(prepared.times_S[0]) == pytest.approx(0.25 + 0.62 / 16)
    alone = encoder.preprocess(encoder.config, Clip(waveform_N=given.waveform_N[29_760:59_520], sampling_rate_hz=48_000))
    torch.testing.assert_close(prepared.tensors["input_features"][1:2], alone.tensors["input_features"])


def test_what_does_not_fit_is_refused(saved):
    folder, *_ = saved
    config = CLAP.resolve(CLAP.Config(source=str(folder)))
    with pytest.raises(MediaError, match=r"at 16000 Hz, wanted 48000; .*sampling_rate_hz=48000"):
        CLAP.preprocess(config, clip(0.3, rate=16_000))
    with pytest.raises(MediaError, match="50 ms"):
        CLAP.preprocess(config, clip(0.04))
    with pytest.raises(ConfigError, match="mel has no key 'hop'"):
        CLAP.resolve(CLAP.Config(source=str(folder), mel={"hop": 3}))
    with pytest.raises(ConfigError, match="64 bins, the network takes 16"):
        CLAP.resolve(CLAP.Config(backbone=SHAPE))
    with pytest.raises(ConfigError, match=r"wanted \(C, pictures, frames, 16\)"):
        CLAP.build(config).encode_chunks(torch.zeros(1, 1, 63, 64))
