"""Parakeet: parity with the published features and network, exact trimming, chunking, positions after from_pretrained, errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import ParakeetEncoder, ParakeetEncoderConfig, ParakeetFeatureExtractor, PreTrainedConfig, PreTrainedModel

from unifusion.conversation import Clip
from unifusion.encoders.parakeet import Parakeet
from unifusion.errors import CheckpointError, ConfigError, MediaError

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32,
    "num_mel_bins": 80, "subsampling_factor": 8, "subsampling_conv_channels": 8,
}  # fmt: skip


def sound(seconds, seed=0, start=0.0):
    n = round(seconds * 16_000)
    t = np.arange(n) / 16_000
    noise = np.random.default_rng(seed).normal(0, 0.05, n)
    return Clip(waveform_N=(0.4 * np.sin(2 * np.pi * 330 * t) + noise).astype(np.float32), waveform_start_s=start, duration_s=seconds)


def run(encoder, found):
    with torch.no_grad():
        chunks = torch.tensor([len(found.tensors["real"])])
        return encoder(chunks=chunks, times=found.times_S[None], mask=found.mask_S[None], **found.tensors)


@pytest.mark.parametrize("seconds", [0.7, 2.345, 4.0])
def test_mels_and_features_equal_the_published_ones(seconds):
    torch.manual_seed(0)
    reference = ParakeetEncoder(ParakeetEncoderConfig(**SMALL)).eval()
    encoder = Parakeet.build(Parakeet.Config(backbone=SMALL, chunk_s=4.0)).eval()
    encoder.backbone.load_state_dict(reference.state_dict())
    clip = sound(seconds)
    published = ParakeetFeatureExtractor()(clip.waveform_N, sampling_rate=16_000, return_tensors="pt")
    found = Parakeet.preprocess(encoder.config, clip)
    n = int(published["attention_mask"].sum())
    assert int(found.tensors["real"].sum()) == n
    torch.testing.assert_close(found.tensors["input_features"][0, :, :n].T, published["input_features"][0, :n], atol=1e-3, rtol=1e-3)
    with torch.no_grad():
        expected = reference(**published)
    out, real = run(encoder, found), expected.attention_mask[0].bool()
    assert int(out.mask_BS.sum()) == int(real.sum())
    torch.testing.assert_close(out.tokens_BSD[out.mask_BS], expected.last_hidden_state[0][real], atol=1e-4, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(320, 30_000))
def test_tokens_cover_the_sound_and_stand_in_its_middle(n):
    config = Parakeet.resolve(Parakeet.tiny())
    found = Parakeet.preprocess(config, Clip(waveform_N=np.zeros(n, np.float32), waveform_start_s=1.5))
    assert len(found.tensors["real"]) == -(-n // 8320) and found.samples == n
    torch.testing.assert_close(found.times_S, 1.5 + (torch.arange(len(found.times_S)) + 0.5) * 0.04)
    assert abs(int(found.mask_S.sum()) * 640 - n) < 640 * (1 + len(found.tensors["real"]))
    assert torch.isfinite(found.tensors["input_features"]).all()


def test_fixed_numbers_keep_the_level_and_the_chunks_own_do_not():
    for normalise, kept in (((-13.0, 5.0), True), (None, False)):
        config = Parakeet.resolve(Parakeet.Config(backbone=SMALL, chunk_s=4.0, normalise=normalise))
        loud, soft = (Parakeet.preprocess(config, Clip(waveform_N=sound(4.0).waveform_N * g)) for g in (1.0, 0.1))
        moved = (loud.tensors["input_features"] - soft.tensors["input_features"]).mean()
        assert (moved > 0.5) == kept


class _ToyConfig(PreTrainedConfig):
    model_type = "toy-parakeet"


class _Toy(PreTrainedModel):
    config_class = _ToyConfig

    def __init__(self, config):
        super().__init__(config)
        self.kept = nn.Linear(2, 2)
        self.encoder = Parakeet.build(Parakeet.tiny(), load_weights=False)
        self.post_init()


def test_positions_are_there_after_from_pretrained(tmp_path):
    """They are a buffer that no file holds; from the meta device it would come up as whatever lay in memory."""
    torch.manual_seed(0)
    whole = _Toy(_ToyConfig())
    whole.save_pretrained(tmp_path)
    loaded = _Toy.from_pretrained(tmp_path)
    for model in (whole, loaded):
        wanted = 1.0 / 10_000.0 ** (torch.arange(0, 16, 2) / 16)
        torch.testing.assert_close(model.encoder.backbone.encode_positions.inv_freq, wanted)


@pytest.mark.parametrize("head", [False, True])
def test_a_folder_of_weights_loads(tmp_path, head):
    from transformers import ParakeetCTCConfig, ParakeetForCTC

    torch.manual_seed(0)
    shape = ParakeetEncoderConfig(**SMALL)
    whole = (
        ParakeetForCTC(ParakeetCTCConfig(encoder_config=shape.to_dict(), vocab_size=12, pad_token_id=11))
        if head
        else ParakeetEncoder(shape)
    )
    whole.save_pretrained(tmp_path)
    encoder = Parakeet.build(Parakeet.Config(source=str(tmp_path), chunk_s=4.0))
    wanted = (whole.encoder if head else whole).state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in encoder.backbone.state_dict().items())
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot load the weights"):
        Parakeet.build(Parakeet.Config(source=str(tmp_path), chunk_s=4.0))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"whole tokens of 0\.08 s") as caught:
        Parakeet.resolve(Parakeet.Config(backbone=SMALL, chunk_s=1.0))
    assert "0.96" in caught.value.remedy
    with pytest.raises(MediaError, match="at least 320 samples"):
        Parakeet.preprocess(Parakeet.resolve(Parakeet.tiny()), Clip(waveform_N=np.zeros(319, np.float32)))
    encoder = Parakeet.build(Parakeet.tiny())
    with pytest.raises(ConfigError, match="input_features are"):
        encoder.encode_chunks(torch.zeros(1, 16, 99), torch.ones(1, 99))
